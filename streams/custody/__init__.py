"""Who may keep, take out and erase what is stored of people, and the log of all of it."""
