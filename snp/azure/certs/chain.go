package certs

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// Chain is a chain in DER: the signing key's certificate (VCEK or VLEK), then AMD's.
type Chain [][]byte

// PEM is the chain as services take it.
func (c Chain) PEM() []byte {
	var b bytes.Buffer
	for _, der := range c {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a buffer takes everything
	}
	return b.Bytes()
}

// Source is where chains come from.
type Source interface {
	// Chain returns the chain of the key that signed the report.
	Chain(ctx context.Context, r *snp.Report) (Chain, error)
}

// ErrStale says that a source has the chain of another chip, or of another firmware version than the report was signed under.
var ErrStale = errors.New("the certificate is not that of the report's chip and firmware")

// read makes a chain for r of certificates in any of the forms they come in.
func read(data []byte, r *snp.Report) (Chain, error) {
	file, err := verify.ReadCertificates(data)
	if err != nil {
		return nil, err
	}
	return assemble(file.Evidence.Certs, r)
}

// assemble puts the signing key's certificate first, and checks that it is the report's.
func assemble(all [][]byte, r *snp.Report) (Chain, error) {
	var chain Chain
	for _, der := range all {
		c, err := verify.InspectCertificate(der)
		switch {
		case err != nil:
			return nil, err
		case c.Unreadable != nil:
			return nil, c.Unreadable
		case c.Kind == "":
			chain = append(chain, der)
		case len(chain) > 0 && kindOf(chain[0]) != "":
			return nil, errors.New("got certificates of two signing keys")
		default:
			if err := fits(c, r); err != nil {
				return nil, err
			}
			chain = append(Chain{der}, chain...)
		}
	}
	if len(chain) == 0 || kindOf(chain[0]) == "" {
		return nil, errors.New("got no certificate of a signing key")
	}
	return chain, nil
}

func kindOf(der []byte) string {
	c, err := verify.InspectCertificate(der)
	if err != nil {
		return ""
	}
	return c.Kind
}

// fits compares what a certificate was issued for with what the report says.
func fits(c *verify.Certificate, r *snp.Report) error {
	want := "VCEK"
	if r.KeyInfo.Signer() == snp.SignerVLEK {
		want = "VLEK"
	}
	if c.Kind != want {
		return fmt.Errorf("%w: got a %s, the report is signed by a %s", ErrStale, c.Kind, want)
	}
	line, err := snp.LineNamed(c.Product)
	if err != nil {
		return err
	}
	tcb, err := r.ReportedTCB.Parts(line)
	if err != nil {
		return err
	}
	if c.TCB != tcb {
		return fmt.Errorf("%w: got one for firmware %s, the report is of %s", ErrStale, c.TCB, tcb)
	}
	if c.ChipID != nil && r.ChipID != [64]byte{} && *c.ChipID != r.ChipID {
		return fmt.Errorf("%w: got one for another chip", ErrStale)
	}
	return nil
}
