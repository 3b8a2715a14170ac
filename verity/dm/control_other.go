//go:build !linux

package dm

import (
	"errors"
	"fmt"
)

// Control stands for a kernel interface that only Linux has.
type Control struct{}

var errNoKernel = fmt.Errorf("device-mapper: %w", errors.ErrUnsupported)

// Open always fails.
func Open() (*Control, error) { return nil, errNoKernel }

// Close does nothing.
func (*Control) Close() error { return nil }

// Create always fails, like the methods below: there is no Control to call them on.
func (*Control) Create(string) (Number, error) { return Number{}, errNoKernel }

// Load always fails.
func (*Control) Load(string, Target, bool) error { return errNoKernel }

// Resume always fails.
func (*Control) Resume(string) error { return errNoKernel }

// Status always fails.
func (*Control) Status(string) (Status, error) { return Status{}, errNoKernel }

// Remove always fails.
func (*Control) Remove(string) error { return errNoKernel }
