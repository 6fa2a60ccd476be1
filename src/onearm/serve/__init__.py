"""What shows the director's daemon: its local socket, metrics, and the web page."""
