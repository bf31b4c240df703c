"""Where dumps come from: the publishers' listings and the download. The only code that speaks to the network."""
