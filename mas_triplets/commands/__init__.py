"""What each verb of the command line does: thin functions over what the library offers."""
