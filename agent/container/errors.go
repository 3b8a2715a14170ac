package container

import "errors"

// FormError is a request that was refused for its form, before the policy was asked. It names the field and never its value.
type FormError struct {
	Field, Reason string
}

func (e *FormError) Error() string { return e.Field + ": " + e.Reason }

func refuse(field, reason string) error { return &FormError{field, reason} }

var (
	// ErrNotFound: the executable was not there or could not be run, said by the runtime before execve.
	ErrNotStarted = errors.New("the runtime reported that the process was not started")
	// ErrUnknownOutcome: the runtime was lost, so that the process may or may not have run.
	ErrUnknownOutcome = errors.New("the runtime was lost before it reported an outcome")
)
