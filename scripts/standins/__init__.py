"""The services' local stand-ins: installed from pins, started on loopback ports, stopped by id."""
