"""Attribution of a row's score to its features."""
