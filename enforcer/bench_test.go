package enforcer_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

// benchContainers are n definitions with layers of their own and two that all share.
func benchContainers(n int) []testContainer {
	list := make([]testContainer, n)
	for i := range list {
		c := web()
		c.Name = fmt.Sprintf("c%d", i)
		c.Command = []string{"/usr/bin/env", "server", "--port", "8080", fmt.Sprintf("--id=%d", i)}
		c.Layers = []string{rootOne, rootTwo}
		for l := range 4 {
			c.Layers = append(c.Layers, fmt.Sprintf("%064x", 1000+4*i+l))
		}
		for _, pattern := range []string{"HOSTNAME=.+", "T(E)?MP=.+", "(?i)(FABRIC)_.+=.+", "IDENTITY_.+=.+", "HOME=/.*", "LANG=[a-z_A-Z.]+"} {
			c.EnvRules = append(c.EnvRules, testEnv{Pattern: pattern, Strategy: "re2"})
		}
		for k := range 4 {
			c.EnvRules = append(c.EnvRules, testEnv{Pattern: fmt.Sprintf("K%d=v%d", k, k), Strategy: "string"})
		}
		c.Capabilities = &enforcer.Capabilities{
			Bounding: unprivileged, Effective: unprivileged, Inheritable: []string{}, Permitted: unprivileged, Ambient: []string{},
		}
		list[i] = c
	}
	return list
}

func benchRequest(c testContainer) enforcer.CreateContainerInput {
	in := request(idA)
	in.ArgList = c.Command
	in.EnvList = []string{"PATH=/bin", "MODE=a", "HOSTNAME=x", "TMP=/tmp", "Fabric_X=1", "IDENTITY_API=z", "HOME=/root", "LANG=C.UTF", "K0=v0", "K1=v1"}
	in.Mounts = append(in.Mounts, aci.DefaultMounts()...)
	in.Capabilities = defaultCaps(unprivileged)
	return in
}

func benchAdmit(b *testing.B, e *enforcer.Enforcer, c testContainer) {
	var paths []string
	for i, root := range c.Layers {
		allow(b, e, enforcer.MountDeviceInput{Target: target(i), DeviceHash: root, MountPathRegex: scsi})
		paths = append([]string{target(i)}, paths...)
	}
	allow(b, e, enforcer.MountOverlayInput{ContainerID: idA, LayerPaths: paths, Target: "/run/gcs/c/" + idA + "/rootfs"})
}

func BenchmarkDecideCreate(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("containers=%d", n), func(b *testing.B) {
			containers := benchContainers(n)
			e := load(b, policyText(b, containers), enforcer.Options{DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts()})
			benchAdmit(b, e, containers[n-1])
			in := benchRequest(containers[n-1])
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Decide(context.Background(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecideMountDevice(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("containers=%d", n), func(b *testing.B) {
			containers := benchContainers(n)
			e := load(b, policyText(b, containers))
			in := enforcer.MountDeviceInput{Target: target(1), DeviceHash: containers[n-1].Layers[5], MountPathRegex: scsi}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Decide(context.Background(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecideMountDeviceOldPolicy rebuilds every container for its framework version in each decision.
func BenchmarkDecideMountDeviceOldPolicy(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("containers=%d", n), func(b *testing.B) {
			containers := benchContainers(n)
			e := load(b, replaceOnce(b, policyText(b, containers), `"0.5.0"`, `"0.2.3"`))
			in := enforcer.MountDeviceInput{Target: target(1), DeviceHash: containers[n-1].Layers[5], MountPathRegex: scsi}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Decide(context.Background(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("containers=%d", n), func(b *testing.B) {
			text := []byte(policyText(b, benchContainers(n)))
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := enforcer.Load(context.Background(), text, enforcer.Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
