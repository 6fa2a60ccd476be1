"""What a host must do by itself when it boots, as texts; pure but for command.py."""
