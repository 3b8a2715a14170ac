package cases

import (
	"encoding/json"

	"github.com/cloister-cc/cloister/enforcer"
)

// noise is a request that has no place in the order of events, or belongs to no container.
func (w *walk) noise() {
	s := w.s
	switch s.IntN(24) {
	case 0:
		w.emit(enforcer.GetPropertiesInput{})
	case 1:
		w.emit(enforcer.DumpStacksInput{})
	case 2:
		w.emit(enforcer.RuntimeLoggingInput{})
	case 3:
		w.emit(enforcer.HostNetworkInput{})
	case 4, 5, 6:
		w.try(w.external(), 40)
	case 7:
		w.emit(w.otherKind())
	case 8:
		w.emit(enforcer.UnmountDeviceInput{UnmountTarget: w.known(w.diskTargets())})
	case 9:
		w.emit(enforcer.UnmountDeviceInput{UnmountTarget: w.known(w.writable)})
	case 10:
		w.emit(enforcer.RWUnmountDeviceInput{UnmountTarget: w.known(w.writable)})
	case 11:
		w.emit(enforcer.RWUnmountDeviceInput{UnmountTarget: w.known(w.diskTargets())})
	case 12:
		w.emit(enforcer.UnmountOverlayInput{UnmountTarget: w.known(w.overlays)})
	case 13:
		w.emit(enforcer.ScratchUnmountInput{UnmountTarget: w.known(w.scratch)})
	case 14:
		w.emit(enforcer.Plan9UnmountInput{UnmountTarget: w.known(w.shares)})
	case 15:
		w.emit(enforcer.MountDeviceInput{Target: w.known(w.diskTargets()), DeviceHash: pick(s, w.p.containers...).layers[0], MountPathRegex: layerPaths})
	case 16:
		w.emit(enforcer.ScratchMountInput{Target: w.known(w.scratch), Encrypted: s.chance(70)})
	case 17:
		w.emit(enforcer.ShutdownContainerInput{ContainerID: w.anyID()})
	case 18:
		w.emit(enforcer.SignalContainerProcessInput{ContainerID: w.anyID(), Signal: pick(s, signalNumbers...), IsInitProcess: s.chance(70), ArgList: pick(s, execCommands...)})
	case 19:
		w.emit(w.create(pick(s, w.p.containers...), w.anyID(), w.known(w.shares)))
	case 20:
		w.emit(w.exec(&running{container: pick(s, w.p.containers...), id: w.anyID()}))
	case 21:
		w.mountOverlay(w.anyID(), some(s, w.diskTargets(), 40))
	case 22, 23:
		w.again()
	}
}

// again repeats an earlier request, as it was or changed.
func (w *walk) again() {
	if len(w.out) == 0 {
		return
	}
	in := pick(w.s, w.out...).Input
	if w.s.chance(50) {
		in = w.mutate(in)
	}
	w.emit(in)
}

// otherKind are the points of devices handed on, of Windows, and of fragments.
func (w *walk) otherKind() enforcer.Input {
	s := w.s
	id := w.anyID()
	return pick[enforcer.Input](s,
		enforcer.MountBlockDevInput{Target: "/dev/sdb"},
		enforcer.UnmountBlockDevInput{UnmountTarget: "/dev/sdb"},
		enforcer.MountCIMsInput{ContainerID: id, LayerHashes: []string{id}, MountedCIM: []string{"cim"}},
		enforcer.RegistryChangesInput{ContainerID: id, RegistryChanges: json.RawMessage(`{"adds":[]}`)},
		enforcer.LogProviderInput{Providers: []string{"p"}},
		enforcer.LoadFragmentInput{Issuer: "did:x509:0:sha256:x::subject:CN:y", Feed: "example/feed", Namespace: "piece"},
		enforcer.LoadTransparencyTrustListInput{Issuer: "did:x509:0:sha256:x::subject:CN:y", Subject: "ledgers", SVN: 1, Ledgers: []string{"l"}},
		enforcer.RWMountDeviceInput{
			Target: w.known(w.writable), Encrypted: s.chance(50), EnsureFilesystem: s.chance(70), Filesystem: pick(s, "ext4", "btrfs"), MountPathRegex: scratchPaths,
		},
	)
}

func (w *walk) diskTargets() []string {
	var out []string
	for _, d := range w.disks {
		out = append(out, d.target)
	}
	return out
}

// known is one of list, seldom something else.
func (w *walk) known(list []string) string {
	if len(list) == 0 || w.s.chance(20) {
		return pick(w.s, "/run/mounts/scsi/m77", "/run/gcs/c/none", "", rootfs(w.sandbox))
	}
	return pick(w.s, list...)
}

// anyID is the id of a container that has an overlay, or no one's.
func (w *walk) anyID() string {
	if len(w.ids) == 0 || w.s.chance(15) {
		return w.s.id()
	}
	return pick(w.s, w.ids...)
}
