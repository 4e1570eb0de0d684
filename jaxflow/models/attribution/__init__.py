"""What each feature carries of a row's score."""
