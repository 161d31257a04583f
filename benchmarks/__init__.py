"""What the project's parts cost, each benchmark a module that is run by hand."""
