"""Whether a folder holds the published data: checks, canonical splits and listed digests."""
