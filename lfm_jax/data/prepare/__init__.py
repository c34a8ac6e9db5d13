"""`lfm data prepare`: verifies folders of images and packs them into ArrayRecord files."""
