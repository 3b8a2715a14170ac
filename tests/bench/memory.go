package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/guest"
)

// measureMemory boots the agent a few times, binds a policy of ten containers, makes the sandbox, leaves it alone for a while and asks how much
// memory is resident.
func measureMemory(ctx context.Context, b *bench) error {
	list, err := makeContainers()
	if err != nil {
		return err
	}
	policy, err := b.policy(ctx, list)
	if err != nil {
		return err
	}
	image, err := b.image(ctx, true, agentPackage)
	if err != nil {
		return err
	}
	var resident sample
	for range b.runs.memory {
		mib, err := b.residentAtRest(ctx, image, policy)
		if err != nil {
			return err
		}
		resident = append(resident, mib)
	}
	b.add("agent_resident_mib", resident, "MiB", fmt.Sprintf("policy of %d containers bound, idle", len(list)), atMost(25))
	return nil
}

// atRest is how long an agent is left alone; what it gives back, it gives back before.
const atRest = 5 * time.Second

func (b *bench) residentAtRest(ctx context.Context, image string, policy []byte) (mib float64, err error) {
	s, err := b.boot(ctx, image, policy)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Stop(context.WithoutCancel(ctx))) }()
	rest := time.NewTimer(atRest)
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	answer, err := s.Client().GetDiagnosticData(ctx, &api.GetDiagnosticDataRequest{LogType: "held"})
	if err != nil {
		return 0, err
	}
	var held struct {
		KiB float64 `json:"rss_kib"`
	}
	err = json.Unmarshal([]byte(answer.Data), &held)
	return held.KiB / 1024, err
}

const megabyte = 1e6

// measureSizes weighs what was built.
func measureSizes(ctx context.Context, b *bench) error {
	agent, err := b.program(ctx, agentPackage)
	if err != nil {
		return err
	}
	image, err := b.image(ctx, false, agentPackage)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		metric, path, reference string
		target                  target
	}{
		{"agent_binary_mb", agent, "stripped, static; MB is 1,000,000 bytes", atMost(27)},
		{"initrd_mb", filepath.Join(image, guest.FileInitrd), "production image, lz4", target{}},
		{"kernel_mb", filepath.Join(image, guest.FileKernel), "Debian's", target{}},
	} {
		info, err := os.Stat(f.path)
		if err != nil {
			return err
		}
		b.add(f.metric, sample{float64(info.Size()) / megabyte}, "MB", f.reference, f.target)
	}
	return nil
}

// decisionRuns is how many decisions one sample averages over.
const decisionRuns = 100

// measureDecision times the first decision of a container on this machine, for information: the same question that
// a disk raises, under a policy of ten containers.
func measureDecision(ctx context.Context, b *bench) error {
	list, err := makeContainers()
	if err != nil {
		return err
	}
	policy, err := b.policy(ctx, list)
	if err != nil {
		return err
	}
	_, root, err := b.layerCache().Get(ctx, list[0].Layers[0].DiffID, list[0].Layers[0].Open)
	if err != nil {
		return err
	}
	var load, decide sample
	for range 9 {
		begin := time.Now()
		e, err := enforcer.Load(ctx, policy, enforcer.Options{DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts()})
		if err != nil {
			return err
		}
		load.addDuration(time.Since(begin))
		begin = time.Now()
		for range decisionRuns {
			_, err := e.Decide(ctx, enforcer.MountDeviceInput{
				Target: "/run/mounts/scsi/m0", DeviceHash: root.String(), MountPathRegex: "/run/mounts/scsi/m[0-9]+",
			})
			if err != nil {
				return err
			}
		}
		decide.addDuration(time.Since(begin) / decisionRuns)
	}
	b.add("policy_load_ms", load, "ms", fmt.Sprintf("policy of %d containers", len(list)), target{})
	b.add("decide_mount_device_ms", decide, "ms", fmt.Sprintf("policy of %d containers", len(list)), target{})
	return nil
}
