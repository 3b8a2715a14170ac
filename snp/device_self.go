package snp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
)

// SelfReport is the guest's report about itself, and how it came to be believed.
type SelfReport struct {
	*Report
	// Evidence is what was judged.
	Evidence Evidence
	// Verified says that the signature and its chain were judged good; otherwise two reports were compared.
	Verified bool
}

// ErrNoChain is what a verify function given to SelfVerified answers, possibly wrapped, when it has no certificates to judge by.
var ErrNoChain = errors.New("no certificate chain at hand")

// SelfVerified asks for a report over a fresh nonce and lets verify judge its signature and chain: nil accepts, ErrNoChain falls back to what Self
// does, any other error refuses. The nonce, the version and the level are checked here. What verify trusts is its own matter; package verify
// has the roots.
//
// Verifying protects against a report path that is not the firmware's: a kernel whose device was replaced before the agent ran. It needs
// certificates, which come from the host; they cannot make a bad report good, only keep a good one from being verified.
func SelfVerified(ctx context.Context, dev Device, verify func(Evidence) error) (SelfReport, error) {
	ev, r, err := selfReport(ctx, dev)
	if err != nil {
		return SelfReport{}, err
	}
	switch err := verify(ev); {
	case err == nil:
		return SelfReport{Report: r, Evidence: ev, Verified: true}, nil
	case !errors.Is(err, ErrNoChain):
		return SelfReport{}, fmt.Errorf("self report: %w", err)
	}
	return crossCheck(ctx, dev, ev, r)
}

// Self asks for two reports over fresh nonces and returns the fields of the second if both say the same of the guest. They may be believed as far as the
// kernel is: the device is the guest's own, and a nonce rules out an answer given to an earlier question. Where certificates are at
// hand, SelfVerified is the better question.
func Self(ctx context.Context, dev Device) (*Report, error) {
	ev, r, err := selfReport(ctx, dev)
	if err != nil {
		return nil, err
	}
	self, err := crossCheck(ctx, dev, ev, r)
	return self.Report, err
}

func crossCheck(ctx context.Context, dev Device, ev Evidence, first *Report) (SelfReport, error) {
	ev2, second, err := selfReport(ctx, dev)
	if err != nil {
		return SelfReport{}, err
	}
	if field := first.differs(second); field != "" {
		return SelfReport{}, fmt.Errorf("self report: two reports differ in %s", field)
	}
	return SelfReport{Report: second, Evidence: ev2}, nil
}

// selfReport asks for one report and reads it.
func selfReport(ctx context.Context, dev Device) (Evidence, *Report, error) {
	var nonce [64]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return Evidence{}, nil, fmt.Errorf("self report: %w", err)
	}
	ev, err := dev.Report(ctx, nonce)
	if err != nil {
		return Evidence{}, nil, fmt.Errorf("self report: %w", err)
	}
	r, err := ParseReport(ev.Report)
	switch {
	case err != nil:
		return Evidence{}, nil, fmt.Errorf("self report: %w", err)
	case r.ReportData != nonce:
		return Evidence{}, nil, errors.New("self report: the report carries another nonce")
	case r.VMPL > maxVMPL:
		return Evidence{}, nil, fmt.Errorf("self report: got vmpl %#x, want 0 to %d", r.VMPL, maxVMPL)
	}
	return ev, r, nil
}

// differs compares two reports of one guest, the second made later, and names the first field that does not fit. The nonce differs, and so may what
// a firmware update changes while the guest runs: but what was committed never goes back.
func (r *Report) differs(later *Report) string {
	for _, f := range []struct {
		name  string
		equal bool
	}{
		{"version", r.Version == later.Version},
		{"guest_svn", r.GuestSVN == later.GuestSVN},
		{"policy", r.Policy == later.Policy},
		{"family_id", r.FamilyID == later.FamilyID},
		{"image_id", r.ImageID == later.ImageID},
		{"vmpl", r.VMPL == later.VMPL},
		{"signature_algo", r.SignatureAlgo == later.SignatureAlgo},
		{"key_info", r.KeyInfo == later.KeyInfo},
		{"measurement", r.Measurement == later.Measurement},
		{"host_data", r.HostData == later.HostData},
		{"id_key_digest", r.IDKeyDigest == later.IDKeyDigest},
		{"author_key_digest", r.AuthorDigest == later.AuthorDigest},
		{"report_id", r.ReportID == later.ReportID},
		{"report_id_ma", r.ReportIDMA == later.ReportIDMA},
		{"processor", r.CPU == later.CPU},
		{"chip_id", r.ChipID == later.ChipID},
		{"launch_tcb", r.LaunchTCB == later.LaunchTCB},
		{"launch_mitigations", r.LaunchMit == later.LaunchMit},
		{"committed_tcb", r.CommittedTCB.notNewerThan(later.CommittedTCB)},
	} {
		if !f.equal {
			return f.name
		}
	}
	return ""
}

// notNewerThan compares byte by byte: in every layout each byte is a version of its own.
func (t TCB) notNewerThan(other TCB) bool {
	for i := range t {
		if t[i] > other[i] {
			return false
		}
	}
	return true
}
