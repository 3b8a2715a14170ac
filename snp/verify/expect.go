package verify

import (
	"errors"
	"fmt"
	"time"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/identity"
)

// Expectations are what a relying party wants of a report. Members are pointers and slices so that "left out" (nil) and "zero" differ: what is left
// out is shown as not asked, what is zero is compared. Signature, chain, chip id, TCB, privilege level, debugging and migration are checked always.
type Expectations struct {
	// Now is the time that certificates and revocation lists are judged at. It must be given.
	Now time.Time

	ReportData   *[64]byte
	HostData     *[32]byte
	Measurements [][48]byte // one of them
	// VMPL is the privilege level the report was asked at, 0 to 3; nil is 0.
	VMPL         *uint32
	GuestPolicy  *PolicyLimit
	PlatformInfo *PlatformLimit

	MinTCB        *snp.TCBParts // of REPORTED_TCB
	MinLaunchTCB  *snp.TCBParts // of LAUNCH_TCB
	MinGuestSVN   *uint32
	MinVersion    *uint32       // of the report's format
	MinFirmware   *snp.Firmware // current and committed
	MinMitigation *Mitigation
	// RefuseProvisional wants the current firmware and TCB to be the committed ones.
	RefuseProvisional bool

	FamilyID, ImageID    *[16]byte
	ReportID, ReportIDMA *[32]byte
	IDKeyDigests         [][48]byte // one of them
	AuthorKeyDigests     [][48]byte // one of them, and an author key
	RequireIDBlock       bool
	ChipIDs              [][64]byte // one of them
	Products             []string   // one of them: Milan, Genoa, Siena, Bergamo, Turin, Turin-Dense
	CSPs                 []string   // one of them, and a VLEK
	Signer               Signer
	CRL                  CRLMode
	AllowMaskedChipID    bool // a VCEK's report may have a CHIP_ID of zeros: then nothing ties it to one chip
	Endorsement          *EndorsementPolicy
	Nonce                []byte   // of identity evidence: the preimage must hold it
	RequireIdentity      bool     // the evidence must have a preimage
	RequireEventLog      bool     // and the event log that it names
	Identity             Identity // what the evidence must be of: IdentityContainer, or IdentityPod if either will do
	// ContainerIdentity says whether a policy hands reports only to the containers it names: then the verdict's identity is the container's, else the pod's.
	// It is asked about Evidence.Policy if SHA-256 of that is HOST_DATA, or if PolicyBound says that the caller knows HOST_DATA to bind it another way,
	// and only if no check of the classes signature and revocation failed: what an unsigned report sends along is never read. Nil is never.
	ContainerIdentity func(policy []byte) bool
	PolicyBound       bool
	// PolicyEntries holds what a preimage says of the container against that policy: this package knows no policy language. It is asked when
	// ContainerIdentity is; where signature or revocation failed its row stays unjudged. Nil leaves it unasked; so does evidence without a policy.
	PolicyEntries func(policy []byte, p *identity.Preimage) error
}

// Mitigation are bits that the vectors of a version 5 report must have.
type Mitigation struct{ Launch, Current *uint64 }

// PolicyLimit says which of a guest policy's permissions are tolerated and which of its promises are wanted.
type PolicyLimit struct {
	SMT bool // other threads may run on the same core
	CXL bool // memory may be on CXL devices

	SingleSocket, AES256XTS, RAPLDisabled, CiphertextHiding, PageSwapDisabled bool // must be promised
	MinABI                                                                    *ABI
}

// ABI is a version of the firmware's interface.
type ABI struct{ Major, Minor uint8 }

// PlatformLimit says what of the platform is tolerated and what is wanted.
type PlatformLimit struct {
	SMT bool // may be on
	TIO bool // trusted devices may be on

	TSME, ECC, RAPLDisabled, CiphertextHiding, AliasCheck bool // must be
}

// Signer is the kind of key that may sign.
type Signer string

// The kinds.
const (
	SignerAny  Signer = ""
	SignerVCEK Signer = "vcek"
	SignerVLEK Signer = "vlek"
)

// CRLMode says what becomes of evidence without a revocation list.
type CRLMode string

// The modes.
const (
	CRLIfPresent CRLMode = ""         // not asked; but every list that is there must be right
	CRLRequired  CRLMode = "required" // refused
)

// EndorsementPolicy is what a measurement's endorsement must be, in place of a list of measurements or beside it.
type EndorsementPolicy struct {
	Issuers []string // did:x509, one of them
	Feed    string
	MinSVN  uint64
}

// ErrExpectation says that an expectation can never be met or was left empty.
var ErrExpectation = errors.New("unusable expectation")

func (e *Expectations) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("verify: %w: "+format, append([]any{ErrExpectation}, args...)...)
	}
	for _, list := range []struct {
		name  string
		empty bool
	}{
		{"measurements", e.Measurements != nil && len(e.Measurements) == 0},
		{"id key digests", e.IDKeyDigests != nil && len(e.IDKeyDigests) == 0},
		{"author key digests", e.AuthorKeyDigests != nil && len(e.AuthorKeyDigests) == 0},
		{"chip ids", e.ChipIDs != nil && len(e.ChipIDs) == 0},
		{"products", e.Products != nil && len(e.Products) == 0},
		{"cloud providers", e.CSPs != nil && len(e.CSPs) == 0},
		{"nonce", e.Nonce != nil && len(e.Nonce) == 0},
	} {
		if list.empty {
			return bad("%s: got an empty list, want at least one or none at all", list.name)
		}
	}
	switch {
	case e.Now.IsZero():
		return bad("now: got no time")
	case e.VMPL != nil && *e.VMPL > 3:
		return bad("vmpl: got %d, want 0 to 3", *e.VMPL)
	case e.Signer != SignerAny && e.Signer != SignerVCEK && e.Signer != SignerVLEK:
		return bad("signer: got %.32q, want vcek or vlek", e.Signer)
	case e.CRL != CRLIfPresent && e.CRL != CRLRequired:
		return bad("crl: got %.32q, want required or nothing", e.CRL)
	case e.Signer == SignerVCEK && e.CSPs != nil:
		return bad("cloud providers: got some, and a VCEK wanted, which has none")
	case e.Identity != "" && e.Identity != IdentityContainer && e.Identity != IdentityPod:
		return bad("identity: got %.32q, want container or pod", e.Identity)
	case e.Endorsement != nil && len(e.Endorsement.Issuers) == 0:
		return bad("endorsement: got no issuer")
	}
	for _, p := range e.Products {
		if _, err := snp.ProductNamed(p); err != nil {
			return bad("products: %v", err)
		}
	}
	return nil
}

// products are the names by which a verdict calls the products wanted.
func (e *Expectations) products() []string {
	out := make([]string, 0, len(e.Products))
	for _, name := range e.Products {
		if p, err := snp.ProductNamed(name); err == nil {
			out = append(out, p.Name)
		}
	}
	return out
}
