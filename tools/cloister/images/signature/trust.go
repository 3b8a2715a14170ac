package signature

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// readTrust reads what an identity's requirement trusts. Each file is named by the user; there is no other source, and no update.
func readTrust(r Requirement) (root.TrustedMaterial, error) {
	raw, err := readFile(r.values["roots"], maxTrustFile)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		for _, name := range []string{"rekor", "tsa", "ctlog"} {
			if r.has(name) {
				return nil, fmt.Errorf("%s= goes with PEM roots; %q is a trusted root that holds all of it", name, r.values["roots"])
			}
		}
		t, err := root.NewTrustedRootFromJSON(raw)
		if err != nil {
			return nil, fmt.Errorf("trusted root %q: %w", r.values["roots"], err)
		}
		return t, nil
	}
	roots, intermediates, err := splitRoots(raw)
	if err != nil {
		return nil, fmt.Errorf("roots %q: %w", r.values["roots"], err)
	}
	var authorities []root.CertificateAuthority
	for _, c := range roots {
		authorities = append(authorities, &root.FulcioCertificateAuthority{Root: c, Intermediates: intermediates})
	}
	rekor, err := readLogs(r.values["rekor"])
	if err != nil {
		return nil, fmt.Errorf("rekor %q: %w", r.values["rekor"], err)
	}
	ct, err := readLogs(r.values["ctlog"])
	if err != nil {
		return nil, fmt.Errorf("ctlog %q: %w", r.values["ctlog"], err)
	}
	stampers, err := readStampers(r.values["tsa"])
	if err != nil {
		return nil, fmt.Errorf("tsa %q: %w", r.values["tsa"], err)
	}
	return root.NewTrustedRoot(root.TrustedRootMediaType01, authorities, ct, stampers, rekor)
}

// splitRoots tells the certificates that signed themselves, which are trusted, from those that lead to them.
func splitRoots(text []byte) (roots, others []*x509.Certificate, err error) {
	certs, err := parseCertificates(text, maxTrustFiles)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range certs {
		if c.CheckSignatureFrom(c) == nil {
			roots = append(roots, c)
		} else {
			others = append(others, c)
		}
	}
	if len(roots) == 0 {
		return nil, nil, fmt.Errorf("none of %d certificates signed itself: the root is missing", len(certs))
	}
	return roots, others, nil
}

// readLogs reads public keys of transparency logs. A key is known by the SHA-256 of its PKIX form (RFC 6962, section 3.2).
func readLogs(path string) (map[string]*root.TransparencyLog, error) {
	logs := make(map[string]*root.TransparencyLog)
	if path == "" {
		return logs, nil
	}
	raw, err := readFile(path, maxTrustFile)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(raw)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return nil, err
		}
		id := sha256.Sum256(der)
		logs[hex.EncodeToString(id[:])] = &root.TransparencyLog{
			ID: id[:], HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256, PublicKey: key,
			ValidityPeriodStart: time.Unix(1, 0), // the user says when it ends, by the file
		}
	}
	if len(logs) == 0 {
		return nil, errors.New("holds no public key")
	}
	return logs, nil
}

// readStampers reads certificates of time stampers, leaf (if any) to root.
func readStampers(path string) ([]root.TimestampingAuthority, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := readFile(path, maxTrustFile)
	if err != nil {
		return nil, err
	}
	roots, others, err := splitRoots(raw)
	if err != nil {
		return nil, err
	}
	var leaf *x509.Certificate
	var intermediates []*x509.Certificate
	for _, c := range others {
		switch {
		case c.IsCA:
			intermediates = append(intermediates, c)
		case leaf != nil:
			return nil, errors.New("got two certificates of time stampers; want one, its intermediates and its root")
		default:
			leaf = c
		}
	}
	var stampers []root.TimestampingAuthority
	for _, c := range roots {
		stampers = append(stampers, &root.SigstoreTimestampingAuthority{
			Root: c, Intermediates: intermediates, Leaf: leaf, URI: fmt.Sprintf("%s (%s)", path, c.Subject),
		})
	}
	return stampers, nil
}

// readCertificates reads the certificates of a PEM file, or of all *.pem, *.crt and *.cer files of a directory (the form of the
// Notary Project's trust store), PEM or DER.
func readCertificates(path string) ([]*x509.Certificate, error) {
	if path == "" {
		return nil, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	names := []string{path}
	if info.IsDir() {
		if names, err = listFiles(path, ".pem", ".crt", ".cer"); err != nil {
			return nil, err
		}
	}
	var all []*x509.Certificate
	for _, name := range names {
		raw, err := readFile(name, maxTrustFile)
		if err != nil {
			return nil, err
		}
		certs, err := parseCertificates(raw, maxTrustFiles)
		if err != nil {
			if certs, err = x509.ParseCertificates(raw); err != nil {
				return nil, fmt.Errorf("%s: neither PEM nor DER certificates: %w", name, err)
			}
		}
		all = append(all, certs...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: holds no certificate (*.pem, *.crt, *.cer)", path)
	}
	return all, nil
}
