"""What is stored of an incident, written down so that it can be checked by somebody who does not trust us."""
