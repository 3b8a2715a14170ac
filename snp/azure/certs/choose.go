package certs

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// First asks sources in turn and returns the first chain; if there is none, every source's reason.
type First []Source

// Chain asks in turn.
func (f First) Chain(ctx context.Context, r *snp.Report) (Chain, error) {
	var errs []error
	for _, s := range f {
		chain, err := s.Chain(ctx, r)
		if err == nil {
			return chain, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 0 {
		return nil, errors.New("certificates: no source is configured")
	}
	return nil, errors.Join(errs...)
}

// Remembered asks a source once for each chip and firmware version, and again after Keep. It is safe for concurrent use.
type Remembered struct {
	Source Source
	Keep   time.Duration    // 0 is a day
	Now    func() time.Time // nil: the clock

	mu    sync.Mutex
	known map[signedBy]remembered
}

// signedBy is what a chain belongs to.
type signedBy struct {
	chip [64]byte
	tcb  snp.TCB
	key  snp.KeyInfo
}

type remembered struct {
	chain Chain
	until time.Time
}

// maxKnown bounds what is remembered: a guest lives on one chip, whose firmware changes rarely.
const maxKnown = 16

// Chain returns the chain that is known, or asks.
func (m *Remembered) Chain(ctx context.Context, r *snp.Report) (Chain, error) {
	now := time.Now
	if m.Now != nil {
		now = m.Now
	}
	of := signedBy{r.ChipID, r.ReportedTCB, r.KeyInfo}
	m.mu.Lock()
	have, ok := m.known[of]
	m.mu.Unlock()
	if ok && now().Before(have.until) {
		return have.chain, nil
	}
	chain, err := m.Source.Chain(ctx, r)
	if err != nil {
		return nil, err
	}
	keep := m.Keep
	if keep <= 0 {
		keep = 24 * time.Hour
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= maxKnown {
		m.known = map[signedBy]remembered{}
	}
	m.known[of] = remembered{chain, now().Add(keep)}
	return chain, nil
}

// withRest adds the certificates above a signing key's to its chain.
func withRest(chain Chain, above []byte) (Chain, error) {
	file, err := verify.ReadCertificates(above)
	if err != nil {
		return nil, err
	}
	for _, der := range file.Evidence.Certs {
		if kindOf(der) != "" {
			return nil, errors.New("got certificates of two signing keys")
		}
		chain = append(chain, der)
	}
	return chain, nil
}
