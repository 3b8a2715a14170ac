package fragment

import (
	"errors"
	"slices"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// Reasons why a document is refused whatever the policy says. They are the beginning of the sentence a refusal gives.
const (
	ReasonSize      = "fragment is too large"
	ReasonMediaType = "fragment media type is not known"
	ReasonFormat    = "fragment is not a signed document"
	ReasonSignature = "fragment signature does not hold"
	ReasonIssuer    = "fragment issuer does not fit its certificates"
	ReasonTrustList = "transparency trust list is malformed"
	ReasonNamespace = "fragment namespace is not allowed"
	ReasonRego      = "fragment is not valid Rego"
	ReasonEval      = "fragment cannot be evaluated"
	ReasonStale     = "transparency trust list is older than the one that is loaded"
)

// Reasons lists them.
func Reasons() []string {
	return []string{
		ReasonSize, ReasonMediaType, ReasonFormat, ReasonSignature, ReasonIssuer, ReasonTrustList, ReasonNamespace, ReasonRego,
		ReasonEval, ReasonStale,
	}
}

// Error is a document that is refused whatever the policy says.
type Error struct {
	Reason string
	Err    error
}

func (e *Error) Error() string { return e.Reason + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Refusal is the error as the refusal of a point.
func (e *Error) Refusal() *point.Refusal {
	return &point.Refusal{Reasons: []string{e.Error()}, Text: e.Error()}
}

// documentError says which stage of a document failed.
func documentError(err error) *Error {
	for _, stage := range []struct {
		reason string
		errs   []error
	}{
		{ReasonIssuer, []error{cose.ErrChain, cose.ErrDID}},
		{ReasonSignature, []error{cose.ErrSignature}},
	} {
		if slices.ContainsFunc(stage.errs, func(target error) bool { return errors.Is(err, target) }) {
			return &Error{stage.reason, err}
		}
	}
	return &Error{ReasonFormat, err}
}
