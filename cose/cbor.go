package cose

import (
	"bytes"
	"math"

	"github.com/fxamacker/cbor/v2"
)

// Bounds. They are far above what real documents have and far below what could hurt the guest.
const (
	// MaxMessage bounds a document, as the fragment limit of the agent does.
	MaxMessage = 4 << 20
	// MaxHeader bounds each of the two headers: eight certificates, or sixteen receipts.
	MaxHeader = 256 << 10
	// MaxCertificates bounds the chain.
	MaxCertificates = 8
	// MaxCertificate bounds the DER form of one certificate.
	MaxCertificate = 16 << 10
	// MaxSignature is enough for RSA keys of 8192 bits.
	MaxSignature = 1 << 10
	// MaxReceipts bounds the receipts of a message.
	MaxReceipts = 16
	// MaxReceipt bounds one receipt.
	MaxReceipt = 16 << 10
	// MaxProofs bounds the inclusion proofs of a receipt, MaxPath the length of each: a ledger has fewer than 2^64 entries.
	MaxProofs = 4
	MaxPath   = 64
	// MaxEvidence is the CCF profile's bound on a leaf's internal evidence.
	MaxEvidence = 1 << 10
	// MaxIssuer and MaxFeed bound the claims.
	MaxIssuer = 4 << 10
	MaxFeed   = 1 << 10

	maxNesting = 16
	maxItems   = 256
)

// CBOR major types.
const (
	majorUnsigned = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
)

const cborNull = 0xf6

// strict refuses before it allocates: lengths and nesting are checked over the whole item first, so a header that announces 2^60 elements
// costs nothing.
var strict = mustDecMode(cbor.DecOptions{
	DupMapKey:        cbor.DupMapKeyEnforcedAPF,
	IndefLength:      cbor.IndefLengthForbidden,
	MaxNestedLevels:  maxNesting,
	MaxArrayElements: maxItems,
	MaxMapPairs:      maxItems,
	UTF8:             cbor.UTF8RejectInvalid,
	MapKeyByteString: cbor.MapKeyByteStringAllowed,
})

var deterministic = mustEncMode(cbor.CoreDetEncOptions())

func mustDecMode(o cbor.DecOptions) cbor.DecMode {
	m, err := o.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}

func mustEncMode(o cbor.EncOptions) cbor.EncMode {
	m, err := o.EncMode()
	if err != nil {
		panic(err)
	}
	return m
}

// major returns the major type of an item that the decoder has found well-formed.
func major(item cbor.RawMessage) int {
	if len(item) == 0 {
		return -1
	}
	return int(item[0] >> 5)
}

// The decoder converts between types where Go's allow it (an array of small integers into bytes, a bignum tag into an integer). A
// second spelling of the same value is a second way past a check, so each reader looks at the major type first.

func readBytes(item cbor.RawMessage, what string, most int) ([]byte, error) {
	if major(item) != majorBytes {
		return nil, failf(ErrFormat, "%s: got CBOR major type %d, want a byte string", what, major(item))
	}
	// The item is well-formed and of definite length, so what follows its head is the string. Not copied: a payload may be megabytes.
	head := 1
	if info := item[0] & 0x1f; info >= 24 {
		head += 1 << (info - 24)
	}
	out := item[head:]
	if len(out) > most {
		return nil, failf(ErrFormat, "%s: got %d bytes, want at most %d", what, len(out), most)
	}
	return out, nil
}

func readText(item cbor.RawMessage, what string, most int) (string, error) {
	if major(item) != majorText {
		return "", failf(ErrFormat, "%s: got CBOR major type %d, want text", what, major(item))
	}
	var out string
	if err := strict.Unmarshal(item, &out); err != nil {
		return "", failf(ErrFormat, "%s: %w", what, err)
	}
	if len(out) > most {
		return "", failf(ErrFormat, "%s: got %d bytes, want at most %d", what, len(out), most)
	}
	return out, nil
}

func readInt(item cbor.RawMessage, what string) (int64, error) {
	if m := major(item); m != majorUnsigned && m != majorNegative {
		return 0, failf(ErrFormat, "%s: got CBOR major type %d, want an integer", what, m)
	}
	var out int64
	if err := strict.Unmarshal(item, &out); err != nil {
		return 0, failf(ErrFormat, "%s: %w", what, err)
	}
	return out, nil
}

func readArray(item cbor.RawMessage, what string, least, most int) ([]cbor.RawMessage, error) {
	if major(item) != majorArray {
		return nil, failf(ErrFormat, "%s: got CBOR major type %d, want an array", what, major(item))
	}
	var out []cbor.RawMessage
	if err := strict.Unmarshal(item, &out); err != nil {
		return nil, failf(ErrFormat, "%s: %w", what, err)
	}
	if len(out) < least || len(out) > most {
		return nil, failf(ErrFormat, "%s: got %d elements, want %d to %d", what, len(out), least, most)
	}
	return out, nil
}

// table is a map with integer and text keys, its values still encoded.
type table struct {
	ints  map[int64]cbor.RawMessage
	texts map[string]cbor.RawMessage
}

// readTable decodes a map. Keys may not repeat in it or in anything nested in it; 1 and a longer encoding of 1 are the same key.
func readTable(item cbor.RawMessage, what string) (table, error) {
	if major(item) != majorMap {
		return table{}, failf(ErrFormat, "%s: got CBOR major type %d, want a map", what, major(item))
	}
	var deep any
	if err := strict.Unmarshal(item, &deep); err != nil {
		return table{}, failf(ErrFormat, "%s: %w", what, err)
	}
	var pairs map[any]cbor.RawMessage
	if err := strict.Unmarshal(item, &pairs); err != nil {
		return table{}, failf(ErrFormat, "%s: %w", what, err)
	}
	t := table{ints: map[int64]cbor.RawMessage{}, texts: map[string]cbor.RawMessage{}}
	for key, value := range pairs {
		switch k := key.(type) {
		case int64:
			t.ints[k] = value
		case uint64:
			if k > math.MaxInt64 {
				return table{}, failf(ErrFormat, "%s: label %d is out of range", what, k)
			}
			t.ints[int64(k)] = value
		case string:
			t.texts[k] = value
		default:
			return table{}, failf(ErrFormat, "%s: got a label of type %T, want integer or text", what, key)
		}
	}
	return t, nil
}

// wire is a COSE_Sign1 cut into its elements. The encoded forms are kept: receipts commit to them.
type wire struct {
	protected, unprotected, payload, signature cbor.RawMessage
}

// sign1Head is tag 18 around an array of four, in the one shortest form.
var sign1Head = []byte{0xd2, 0x84}

func cut(raw []byte, most int) (wire, error) {
	if len(raw) > most {
		return wire{}, failf(ErrFormat, "got %d bytes, want at most %d", len(raw), most)
	}
	if !bytes.HasPrefix(raw, sign1Head) {
		return wire{}, failf(ErrFormat, "got a message that begins %x, want a tagged COSE_Sign1 (%x)", raw[:min(2, len(raw))], sign1Head)
	}
	parts, err := readArray(raw[1:], "COSE_Sign1", 4, 4)
	if err != nil {
		return wire{}, err
	}
	return wire{parts[0], parts[1], parts[2], parts[3]}, nil
}

// bare is the message with its unprotected header emptied.
func (w wire) bare() []byte {
	return w.join([]byte{0xa0})
}

func (w wire) join(unprotected []byte) []byte {
	return bytes.Join([][]byte{sign1Head, w.protected, unprotected, w.payload, w.signature}, nil)
}

// toBeSigned is the Sig_structure of RFC 9052, section 4.4, without external data.
func toBeSigned(protected, payload []byte) ([]byte, error) {
	return deterministic.Marshal([]any{"Signature1", protected, []byte{}, payload})
}
