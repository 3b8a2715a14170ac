package cose

import (
	"errors"
	"fmt"
)

// What went wrong, for callers that tell the stages apart. Each error of this package wraps one of them.
var (
	// ErrFormat: the bytes are not a message this package reads.
	ErrFormat = errors.New("cose message")
	// ErrChain: the certificates do not form a chain.
	ErrChain = errors.New("certificate chain")
	// ErrSignature: the signature is not one of the leaf's key.
	ErrSignature = errors.New("cose signature")
	// ErrClaims: issuer, feed or SVN are missing or malformed.
	ErrClaims = errors.New("cose claims")
	// ErrDID: the issuer is not a did:x509 or does not fit the chain.
	ErrDID = errors.New("did:x509")
	// ErrReceipt: a receipt proves nothing.
	ErrReceipt = errors.New("receipt")
	// ErrTrustList: the payload is not a transparency trust list.
	ErrTrustList = errors.New("transparency trust list")
	// ErrSign: a document cannot be made from these options.
	ErrSign = errors.New("sign cose message")
)

// failf returns an error of the class. The format may use %w once more for a cause.
func failf(class error, format string, args ...any) error {
	return fmt.Errorf("%w: %w", class, fmt.Errorf(format, args...))
}

// clip bounds what of a document's text enters an error: these texts travel to logs and to the host.
func clip(s string) string {
	const most = 128
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
