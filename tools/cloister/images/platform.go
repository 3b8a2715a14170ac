package images

import (
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const defaultPlatform = "linux/amd64"

// platform is what an image is built for. The variant is "" where it says what the architecture says already.
type platform struct{ os, arch, variant string }

func parsePlatform(s string) (platform, error) {
	if s == "" {
		s = defaultPlatform
	}
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return platform{}, fmt.Errorf("platform %s: want os/architecture or os/architecture/variant", quote(s))
	}
	p := platform{os: parts[0], arch: parts[1]}
	if len(parts) == 3 {
		p.variant = parts[2]
	}
	return p.normal(), nil
}

// normal spells equal platforms equally.
func (p platform) normal() platform {
	switch p.arch {
	case "x86_64", "x86-64":
		p.arch = "amd64"
	case "aarch64":
		p.arch = "arm64"
	}
	switch p.arch + "/" + p.variant {
	case "amd64/v1", "arm64/v8":
		p.variant = ""
	case "arm/":
		p.variant = "v7"
	}
	return p
}

func (p platform) String() string {
	s := p.os + "/" + p.arch
	if p.variant != "" && !(p.arch == "arm" && p.variant == "v7") {
		s += "/" + p.variant
	}
	return s
}

func platformOf(p *v1.Platform) platform {
	if p == nil {
		return platform{}
	}
	return platform{p.OS, p.Architecture, p.Variant}.normal()
}

// choose takes the first manifest for the platform, as the peers do.
func (p platform) choose(list []v1.Descriptor) (v1.Descriptor, error) {
	var have []string
	for _, d := range list {
		if d.Platform == nil {
			continue
		}
		if platformOf(d.Platform) == p {
			return d, nil
		}
		if d.Platform.OS != "unknown" { // attestations
			have = append(have, platformOf(d.Platform).String())
		}
	}
	return v1.Descriptor{}, &platformError{want: p, have: have}
}

// platformError says what an image has instead.
type platformError struct {
	want platform
	have []string
}

func (e *platformError) Error() string {
	const most = 16
	have := "no platform that it names"
	if len(e.have) > most {
		e.have = append(e.have[:most:most], "…")
	}
	if len(e.have) > 0 {
		have = strings.Join(e.have, ", ")
	}
	return fmt.Sprintf("platform: got %.512s, want %s (build the image for it)", have, e.want)
}
