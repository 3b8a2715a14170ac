package spec

import "fmt"

// RefusedError says which field of a specification the guest cannot be given, and why.
type RefusedError struct {
	Field string
	Why   string
}

func (e *RefusedError) Error() string { return e.Field + ": " + e.Why }

func refuse(field, why string, args ...any) error {
	return &RefusedError{Field: field, Why: fmt.Sprintf(why, args...)}
}
