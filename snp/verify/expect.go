package verify

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloister-cc/cloister/snp"
)

// Expectations are what a relying party wants of a report. Each must be given: New values are pointers so that "left out" and "zero" differ.
type Expectations struct {
	// ReportData is the 64 bytes that tie the report to the caller's nonce.
	ReportData *[64]byte
	// HostData is the hash of the policy. All zeros bind nothing and are refused.
	HostData *[32]byte
	// Measurements are the launch digests accepted, or AnyMeasurement.
	Measurements   [][48]byte
	AnyMeasurement bool
	// VMPL is the privilege level the report was asked at, 0 to 3.
	VMPL *uint32
	// GuestPolicy is the most that may be allowed; see PolicyLimit.
	GuestPolicy *PolicyLimit
	// MinTCB is the oldest firmware accepted, part by part.
	MinTCB *snp.TCBParts
	// MinGuestSVN is the oldest guest version accepted.
	MinGuestSVN *uint32
	// Now is the time certificates are judged at.
	Now time.Time
}

// PolicyLimit says which of a guest policy's permissions are tolerated. Debugging and migration agents never are: both hand the guest's memory to the host.
type PolicyLimit struct {
	SMT bool // other threads may run on the same core
	CXL bool // memory may be on CXL devices
}

// ErrIncomplete says that an expectation was left out.
var ErrIncomplete = errors.New("an expectation was left empty")

func (e *Expectations) check() error {
	var empty []string
	for _, f := range []struct {
		name string
		ok   bool
	}{
		{"report_data", e.ReportData != nil},
		{"host_data", e.HostData != nil},
		{"measurement", e.AnyMeasurement || len(e.Measurements) > 0},
		{"vmpl", e.VMPL != nil},
		{"guest_policy", e.GuestPolicy != nil},
		{"min_tcb", e.MinTCB != nil},
		{"min_guest_svn", e.MinGuestSVN != nil},
		{"now", !e.Now.IsZero()},
	} {
		if !f.ok {
			empty = append(empty, f.name)
		}
	}
	switch {
	case len(empty) > 0:
		return fmt.Errorf("verify: %w: %s", ErrIncomplete, strings.Join(empty, ", "))
	case e.AnyMeasurement && len(e.Measurements) > 0:
		return errors.New("verify: got measurements and the wish to accept any, want one of them")
	case *e.HostData == [32]byte{}:
		return errors.New("verify: got a host_data of zeros, which binds no policy")
	case *e.VMPL > 3:
		return fmt.Errorf("verify: got vmpl %d, want 0 to 3", *e.VMPL)
	}
	for _, m := range e.Measurements {
		if m == [48]byte{} {
			return errors.New("verify: got a measurement of zeros, which is no launch digest")
		}
	}
	return nil
}
