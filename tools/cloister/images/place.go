package images

import (
	"context"
	"fmt"
	"strings"
)

// place is somewhere images can be. find returns a *missing when the image is not there; every other error ends the search: a
// place that has the image but cannot be believed is not passed over.
type place interface {
	String() string
	find(ctx context.Context, ref reference, want platform) (*candidate, error)
	Close() error
}

// NotFoundError says where an image was looked for.
type NotFoundError struct {
	Reference string
	Searched  []string // "OCI layout \"dir\": it has nginx:1.27, redis:7"
	Next      string   // what to do
}

func (e *NotFoundError) Error() string {
	searched := "nowhere was looked"
	if len(e.Searched) > 0 {
		searched = "looked in " + strings.Join(e.Searched, "; ")
	}
	return fmt.Sprintf("image %s: not found: %s (%s)", quote(e.Reference), searched, e.Next)
}

func (e *NotFoundError) Unwrap() error { return ErrNotFound }

// missing is the answer of a place that has other images.
type missing struct {
	have []string
	why  string // instead of what it has
}

func (e *missing) Error() string {
	const most = 8
	switch {
	case e.why != "":
		return e.why
	case len(e.have) == 0:
		return "not there"
	case len(e.have) > most:
		return fmt.Sprintf("it has %.1024s and %d more", strings.Join(e.have[:most], ", "), len(e.have)-most)
	}
	return fmt.Sprintf("it has %.1024s", strings.Join(e.have, ", "))
}

func (e *missing) Unwrap() error { return ErrNotFound }
