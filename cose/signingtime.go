package cose

import (
	"time"

	"github.com/fxamacker/cbor/v2"
)

// labelSigningTime is the text label under which reference information says when it was signed.
const labelSigningTime = "signingtime"

// CBOR's two tags for a point in time, RFC 8949, section 3.4.
const (
	tagTimeText  = 0
	tagTimeEpoch = 1
)

// SigningTime reads the time at which the signer says it signed, from the label "signingtime" of the protected header: tag 1 with whole seconds
// or tag 0 with RFC 3339 text. ok is false if the header has none. The time is the signer's word, as everything in the header is.
func (m *Sign1) SigningTime() (t time.Time, ok bool, err error) {
	raw, ok := m.protected.texts[labelSigningTime]
	if !ok {
		return time.Time{}, false, nil
	}
	var tag cbor.RawTag
	if err := strict.Unmarshal(raw, &tag); err != nil {
		return time.Time{}, false, failf(ErrClaims, "%s: want a time with tag 0 or 1", labelSigningTime)
	}
	switch tag.Number {
	case tagTimeEpoch:
		seconds, err := readInt(tag.Content, labelSigningTime)
		if err != nil {
			return time.Time{}, false, failf(ErrClaims, "%w", err)
		}
		t = time.Unix(seconds, 0).UTC()
	case tagTimeText:
		text, err := readText(tag.Content, labelSigningTime, maxTimeText)
		if err != nil {
			return time.Time{}, false, failf(ErrClaims, "%w", err)
		}
		if t, err = time.Parse(time.RFC3339, text); err != nil {
			return time.Time{}, false, failf(ErrClaims, "%s: got %.40q, want RFC 3339", labelSigningTime, text)
		}
	default:
		return time.Time{}, false, failf(ErrClaims, "%s: got tag %d, want 0 or 1", labelSigningTime, tag.Number)
	}
	if y := t.Year(); y < 1970 || y > 9999 {
		return time.Time{}, false, failf(ErrClaims, "%s: got the year %d, want 1970 to 9999", labelSigningTime, y)
	}
	return t, true, nil
}

// maxTimeText bounds the text of a time: RFC 3339 with nanoseconds and a zone.
const maxTimeText = 64
