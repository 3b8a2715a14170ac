package cose_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"net/url"
	"slices"
	"strings"
)

// modelAccepts says whether a did:x509 holds for a chain by the rules that the method's specification gives, rule by rule and without
// its syntax: what is split is split wherever it may be, values are decoded as URL queries are. It accepts more than it should; all
// that the package accepts, it must accept.
func modelAccepts(did string, chain []*x509.Certificate) bool {
	rest, ok := strings.CutPrefix(did, "did:x509:0:")
	if !ok {
		return false
	}
	parts := strings.Split(rest, "::")
	pin := strings.Split(parts[0], ":")
	if len(pin) != 2 {
		return false
	}
	pinned := false
	for _, c := range chain[1:] {
		s256, s384, s512 := sha256.Sum256(c.Raw), sha512.Sum384(c.Raw), sha512.Sum512(c.Raw)
		prints := map[string]string{"sha256": base64url(s256[:]), "sha384": base64url(s384[:]), "sha512": base64url(s512[:])}
		pinned = pinned || prints[pin[0]] == pin[1] && pin[1] != ""
	}
	if !pinned {
		return false
	}
	for _, p := range parts[1:] {
		name, value, _ := strings.Cut(p, ":")
		if !modelPolicy(name, value, chain[0]) {
			return false
		}
	}
	return true
}

func modelPolicy(name, value string, leaf *x509.Certificate) bool {
	items := strings.Split(value, ":")
	decode := func(s string) string {
		out, err := url.QueryUnescape(s)
		if err != nil {
			return "\xff"
		}
		return out
	}
	switch name {
	case "subject":
		if len(items)%2 != 0 {
			return false
		}
		want := map[string]string{}
		for i := 0; i < len(items); i += 2 {
			want[items[i]] = decode(items[i+1])
		}
		have := modelSubject(leaf)
		for k, v := range want {
			if got, ok := have[k]; !ok || got != v {
				return false
			}
		}
		return len(want) >= 1 && len(want) == len(items)/2
	case "san":
		if len(items) != 2 {
			return false
		}
		var uris []string
		for _, u := range leaf.URIs {
			uris = append(uris, u.String())
		}
		have := map[string][]string{"email": leaf.EmailAddresses, "dns": leaf.DNSNames, "uri": uris}
		return slices.Contains(have[items[0]], decode(items[1]))
	case "eku":
		for _, e := range leaf.Extensions {
			var oids []asn1.ObjectIdentifier
			if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 37}) {
				continue
			}
			if _, err := asn1.Unmarshal(e.Value, &oids); err != nil {
				return false
			}
			for _, oid := range oids {
				if oid.String() == value {
					return true
				}
			}
		}
	case "fulcio-issuer":
		for _, e := range leaf.Extensions {
			if e.Id.String() == "1.3.6.1.4.1.57264.1.1" && string(e.Value) == "https://"+decode(value) {
				return true
			}
		}
	}
	return false
}

func modelSubject(leaf *x509.Certificate) map[string]string {
	short := map[string]string{
		"2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "STREET", "2.5.4.10": "O", "2.5.4.11": "OU",
	}
	out := map[string]string{}
	for _, n := range leaf.Subject.Names {
		key := n.Type.String()
		if s, ok := short[key]; ok {
			key = s
		}
		out[key], _ = n.Value.(string)
	}
	return out
}
