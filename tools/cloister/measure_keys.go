package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
)

// readPrivateKey reads the first private key of a PEM file: PKCS #8, SEC 1 or PKCS #1, not encrypted.
func readPrivateKey(path string) (crypto.Signer, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("read key %q: no private key in PEM (\"openssl ecparam -name secp384r1 -genkey -noout\" makes one)", path)
		}
		var key any
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, fmt.Errorf("read key %q: it is encrypted (\"openssl pkey -in FILE\" prints it without its password)", path)
		default: // OpenSSL writes the curve's name in a block of its own
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read key %q: %w", path, err)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("read key %q: a key of type %T cannot sign", path, key)
		}
		return signer, nil
	}
}

func readECDSAKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := readPrivateKey(path)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read key %q: got a key of type %T, want ECDSA on P-384", path, key)
	}
	return ec, nil
}

// readCertificates reads all certificates of a PEM file, in their order.
func readCertificates(path string) ([]*x509.Certificate, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read certificates %q: %w", path, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("read certificates %q: none in PEM", path)
	}
	return out, nil
}
