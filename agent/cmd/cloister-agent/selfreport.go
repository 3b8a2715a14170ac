package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/cloister-cc/cloister/agent/gate"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// hostData reads HOST_DATA of the guest's own report; nil stands for running without a TEE, by name.
func (a *agent) hostData() gate.HostData {
	if a.set.insecure {
		return nil
	}
	return func(ctx context.Context) ([32]byte, error) {
		if a.device == nil {
			return [32]byte{}, snp.ErrNoDevice
		}
		v, err := amdVerifier()
		if err != nil {
			return [32]byte{}, err
		}
		var why error
		self, err := snp.SelfVerified(ctx, a.device, func(ev snp.Evidence) error {
			why = judgeSelf(v, ev)
			return why
		})
		if err != nil {
			return [32]byte{}, err
		}
		a.self.Store(&self.Evidence)
		a.log.Info("own report", zap.Bool("verified", self.Verified), zap.NamedError("not_verified", why))
		return self.HostData, nil
	}
}

// amdVerifier trusts AMD's roots alone, and no file or flag can add another.
var amdVerifier = sync.OnceValues(func() (*verify.Verifier, error) { return verify.New(verify.AMDRoots(), verify.Options{CacheSize: 1}) })

// chainRows are the checks of a verdict that are about the certificates. They come from the host, which may give none: a chain that is not this report's, or leads to no root of AMD's,
// is worth no more and no less. The software processor's is one of those.
var chainRows = map[string]bool{
	"certificate_table": true, "certificates": true, "certificate": true, "signer": true, "chain": true, "root_line": true, "product": true, "chip_id": true,
	"tcb_form": true, "reported_tcb": true,
}

// judgeSelf says whether a report of this guest's own device was signed by a processor of AMD's: nil when it was, snp.ErrNoChain when there are no certificates to tell
// by, another error when there are and the report is not what they say. Only signature and chain are judged: everything else is for relying parties. Certificates are not
// judged by the clock, which is the host's word.
func judgeSelf(v *verify.Verifier, ev snp.Evidence) error {
	verdict, err := v.Verify(verify.Evidence{Report: ev.Report, Table: ev.Certs}, verify.Expectations{Now: time.Now()})
	if err != nil {
		return err
	}
	var broken error
	for _, c := range verdict.Failed() {
		switch {
		case c.Name == "validity":
		case chainRows[c.Name]:
			return fmt.Errorf("%w: %s: got %s, want %s", snp.ErrNoChain, c.Name, c.Got, c.Want)
		case c.Class == verify.ClassSignature && broken == nil:
			broken = fmt.Errorf("%s: got %s, want %s", c.Name, c.Got, c.Want)
		}
	}
	if broken == nil && !passed(verdict, "chain", "signature") {
		broken = errors.New("neither accepted nor refused")
	}
	return broken
}

// passed says that checks were made and found right.
func passed(v *verify.Verdict, names ...string) bool {
	for _, c := range v.Checks {
		if slices.Contains(names, c.Name) && c.Status != verify.StatusPass {
			return false
		}
	}
	return true
}
