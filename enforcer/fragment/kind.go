package fragment

import (
	"fmt"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// Kind is what a document is.
type Kind int

// The kinds of documents that come on the fragments' way.
const (
	// KindRego is a fragment.
	KindRego Kind = iota
	// KindTrustList are keys of transparency ledgers.
	KindTrustList
	// KindTCBReference and KindPlatformReference are kept for workloads.
	KindTCBReference
	KindPlatformReference
)

// Media types (policy contract, section 2.6). The empty one is a fragment too.
const (
	MediaTypeRego              = "application/cose-x509+rego"
	MediaTypeTrustList         = cose.MediaTypeTrustList
	MediaTypeTCBReference      = "application/vnd.tcb-reference-info.v1+cose"
	MediaTypePlatformReference = "application/vnd.platform-reference-info.v1+cose"
)

// KindOf is the kind that a media type names, exactly as the contract spells it.
func KindOf(mediaType string) (Kind, error) {
	switch mediaType {
	case "", MediaTypeRego:
		return KindRego, nil
	case MediaTypeTrustList:
		return KindTrustList, nil
	case MediaTypeTCBReference:
		return KindTCBReference, nil
	case MediaTypePlatformReference:
		return KindPlatformReference, nil
	}
	return 0, &Error{ReasonMediaType, fmt.Errorf("got %s", point.Quote(mediaType))}
}
