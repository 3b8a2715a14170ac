package network

import (
	"errors"
	"fmt"
)

// ErrLinkNotFound says that no virtio-net device has the MAC address (yet). Its text is fixed: Kata's shim repeats
// UpdateInterface for as long as the answer contains these two words, because the device is plugged asynchronously.
//
//lint:ignore ST1005 Kata's shim looks for these words
var ErrLinkNotFound = errors.New("Link not found")

// ErrInvalid marks a request that is refused for its form.
var ErrInvalid = errors.New("invalid network request")

// invalidError is a refusal for form; errors.Is(err, ErrInvalid) holds.
type invalidError struct{ text string }

func (e *invalidError) Error() string        { return e.text }
func (e *invalidError) Is(target error) bool { return target == ErrInvalid }

func invalid(format string, args ...any) error {
	return &invalidError{text: fmt.Sprintf(format, args...)}
}

// quote shows a string of the host, cut so that an answer stays an answer.
func quote(s string) string {
	const longest = 128
	if len(s) > longest {
		s = s[:longest]
	}
	return fmt.Sprintf("%q", s)
}
