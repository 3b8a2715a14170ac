package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/initdata"
)

// policyFile is the document's entry with the policy.
const policyFile = "policy.rego"

// bindInitdata looks for the initdata disk among the disks that are there at boot and binds its policy. No disk is no error:
// the policy may come by SetPolicy. A disk that does not fit the hardware report, and two disks, are fatal.
func (a *agent) bindInitdata(ctx context.Context) error {
	disks, err := filepath.Glob("/sys/class/block/[vs]d[a-z]")
	if err != nil {
		return err
	}
	var found *initdata.Document
	for _, d := range disks {
		doc, err := readInitdata("/dev/" + filepath.Base(d))
		switch {
		case err != nil:
			return err
		case doc == nil:
			continue
		case found != nil:
			return errors.New("two initdata disks")
		}
		found = doc
	}
	if found == nil {
		return nil
	}
	// This would change what the policy allows; an agent that passed it over would enforce another document than the one that was bound.
	if _, ok := found.Data["layers.json"]; ok {
		return errors.New("the initdata document holds \"layers.json\", which this agent does not read")
	}
	policy, ok := found.Data[policyFile]
	if !ok {
		return fmt.Errorf("the initdata document has no %s", policyFile)
	}
	fragments, err := found.Fragments()
	if err != nil {
		return fmt.Errorf("the initdata document: %w", err)
	}
	if a.endorsement, err = readEndorsement(found); err != nil {
		return fmt.Errorf("the initdata document: %w", err)
	}
	if err := a.gate.BindInitdata(ctx, found.HostData(), found.Raw, []byte(policy)); err != nil {
		return err
	}
	// No request is answered before: a host sees the policy with all of them, or a guest that ends.
	for i, document := range fragments {
		if err := a.gate.LoadFragment(ctx, "SetPolicyRequest", document, ""); err != nil {
			return fmt.Errorf("fragment %d of the initdata document: %w", i, err)
		}
	}
	a.bound()
	return nil
}

func readInitdata(dev string) (*initdata.Document, error) {
	f, err := os.OpenFile(dev, os.O_RDONLY, 0)
	if err != nil {
		if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOMEDIUM) {
			return nil, nil
		}
		return nil, fmt.Errorf("open disk: %w", err)
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		return nil, fmt.Errorf("measure disk: %w", err)
	}
	is, err := initdata.Probe(f)
	if err != nil || !is {
		if err != nil && strings.Contains(err.Error(), "EOF") {
			return nil, nil
		}
		return nil, err
	}
	return initdata.Read(f, size)
}
