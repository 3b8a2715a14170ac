package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
)

// Files of a signer to try things out with.
const (
	fileSigningKey   = "key.pem"
	fileSigningChain = "chain.pem"
)

type devSigning struct {
	dir, kind, name string
	days            int
	json            bool
}

func newDevSigningCommand() *cobra.Command {
	var d devSigning
	init := &cobra.Command{
		Use:   "init [--dir DIR]",
		Short: "Make a key and a certificate chain to sign fragments with, once",
		Long: `Init makes a root, a leaf and the leaf's key, readable by you alone, unless they exist, and prints the did:x509 of the chain. Every
certificate's subject says "` + fragmentgen.TestSubject + `". The root's key is thrown away: what a policy that names this root accepts is
what this leaf has signed.`,
		Example: `  cloister dev signing init
  cloister dev signing init --dir signing --key-type ed25519 --name infra --days 30`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd) },
	}
	f := init.Flags()
	f.StringVar(&d.dir, "dir", "", "directory of key and chain (default $XDG_DATA_HOME/cloister/signing)")
	f.StringVar(&d.kind, "key-type", "p384", "kind of the keys: "+strings.Join(fragmentgen.TestKeys(), ", "))
	f.StringVar(&d.name, "name", "signer", "end of the leaf's common name")
	f.IntVar(&d.days, "days", 365, "days that the certificates are valid for")
	f.BoolVar(&d.json, "json", false, "print JSON")
	cmd := asGroup(&cobra.Command{Use: "signing", Short: "A signer of fragments to try things out with, TEST ONLY"})
	cmd.AddCommand(init)
	return cmd
}

func (d *devSigning) run(cmd *cobra.Command) error {
	dir, err := signingDir(d.dir)
	if err != nil {
		return err
	}
	key, chain := filepath.Join(dir, fileSigningKey), filepath.Join(dir, fileSigningChain)
	switch {
	case exists(key) && exists(chain):
	case exists(key) || exists(chain):
		return fmt.Errorf("dev signing init: %q has one of %s and %s only (remove it, or name another directory with --dir)", dir, fileSigningKey, fileSigningChain)
	default:
		if err := d.make(dir, key, chain); err != nil {
			return fmt.Errorf("dev signing init: %w", err)
		}
	}
	certs, err := readCertificates(chain)
	if err != nil {
		return err
	}
	issuer, err := fragmentgen.DID(certs)
	if err != nil {
		return err
	}
	if d.json {
		return encodeJSON(cmd.OutOrStdout(), map[string]string{"key": key, "chain": chain, "issuer": issuer})
	}
	p := &printer{w: cmd.OutOrStdout()}
	p.rows("", [][]string{{"key", key}, {"chain", chain}, {"issuer", issuer}})
	return p.err
}

func signingDir(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	base := os.Getenv("XDG_DATA_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the directory of keys: %w (name one with --dir)", err)
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "cloister", "signing"), nil
}

func (d *devSigning) make(dir, key, chain string) error {
	c, err := fragmentgen.NewTestChain(d.kind, d.name, time.Now(), d.days)
	if err != nil {
		return &usageError{err}
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.Key)
	if err != nil {
		return err
	}
	var certs bytes.Buffer
	for _, cert := range c.Chain {
		if err := pem.Encode(&certs, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := writeDocument(chain, certs.Bytes()); err != nil {
		return err
	}
	// Exclusive: the key of somebody else's chain is not overwritten.
	f, err := os.OpenFile(key, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der}), f.Close())
}
