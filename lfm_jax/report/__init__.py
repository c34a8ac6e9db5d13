"""What an evaluation leaves behind: its files, and one HTML page that shows it."""
