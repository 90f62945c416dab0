package token

// NewVerifierDial is NewVerifier with a network of its own.
var NewVerifierDial = newVerifier
