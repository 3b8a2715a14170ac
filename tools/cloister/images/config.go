package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// imageConfig is an OCI image configuration: the document as it came, and what is used of it.
type imageConfig struct {
	raw json.RawMessage
	doc configDocument
}

type configDocument struct {
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Variant      string    `json:"variant"`
	Config       v1.Config `json:"config"`
	RootFS       struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

func (d *configDocument) platform() platform {
	return platform{d.OS, d.Architecture, d.Variant}.normal()
}

// parseImageConfig reads the configuration of an image that must be for the platform.
func parseImageConfig(raw []byte, want platform) (imageConfig, error) {
	c := imageConfig{raw: raw}
	if err := json.Unmarshal(raw, &c.doc); err != nil {
		return imageConfig{}, fmt.Errorf("configuration: %w", err)
	}
	if got := c.doc.platform(); got != want {
		return imageConfig{}, fmt.Errorf("configuration: %w", &platformError{want: want, have: []string{got.String()}})
	}
	ids := c.doc.RootFS.DiffIDs
	if len(ids) == 0 || len(ids) > maxLayers {
		return imageConfig{}, fmt.Errorf("configuration: got %d layers, want 1 to %d", len(ids), maxLayers)
	}
	for i, id := range ids {
		if _, err := parseDigest(id); err != nil {
			return imageConfig{}, fmt.Errorf("configuration: diff id %d: %w", i, err)
		}
	}
	return c, nil
}

// parseLockedConfig reads the member "config" of a lock file's entry: a whole configuration or its inner part.
func parseLockedConfig(raw json.RawMessage) (imageConfig, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return imageConfig{}, err
	}
	if members == nil {
		return imageConfig{}, errors.New("got null, want an object")
	}
	c := imageConfig{raw: raw}
	for _, m := range []string{"config", "rootfs", "architecture", "os"} {
		if _, whole := members[m]; !whole {
			continue
		}
		if err := json.Unmarshal(raw, &c.doc); err != nil {
			return imageConfig{}, err
		}
		for i, id := range c.doc.RootFS.DiffIDs {
			if _, err := parseDigest(id); err != nil {
				return imageConfig{}, fmt.Errorf("rootfs.diff_ids[%d]: %w", i, err)
			}
		}
		return c, nil
	}
	// What "docker image inspect" prints would pass for an inner configuration that says nothing.
	for m := range members {
		switch strings.ToLower(m) {
		case "config", "rootfs", "architecture", "os":
			return imageConfig{}, fmt.Errorf("member %s: want an OCI image configuration, which spells it %q", quote(m), strings.ToLower(m))
		}
	}
	return c, json.Unmarshal(raw, &c.doc.Config)
}
