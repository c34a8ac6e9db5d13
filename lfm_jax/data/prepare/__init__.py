"""`lfm data prepare`: folders of images verified and packed into ArrayRecord files."""
