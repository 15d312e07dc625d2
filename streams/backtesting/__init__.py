"""What a detector would have said: other versions and settings over the past."""
