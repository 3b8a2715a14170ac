package compiled

import (
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer/point"
)

func (q *question) mountPathOK(pattern, target string) bool {
	return q.judge.matchers.agentPattern(pattern).matches(target)
}

func (q *question) deviceMounted(target string) bool {
	device := q.get(tableDevices, target).present
	return q.get(tableRWDevices, target).present || device
}

func (q *question) hashKnown(hash string) bool {
	_, ok := q.judge.universe.hashes[hash]
	return ok
}

func (q *question) mountDevice(in point.MountDeviceInput) *point.Verdict {
	if q.deviceMounted(in.Target) || !q.hashKnown(in.DeviceHash) || !q.mountPathOK(in.MountPathRegex, in.Target) {
		return nil
	}
	return allowed(q.change(q.add(tableDevices, in.Target, value{text: in.DeviceHash})))
}

func allowed(p *pending) *point.Verdict { return &point.Verdict{Allowed: true, Pending: p} }

func (q *question) encryptionOK(encrypted bool) bool {
	return encrypted || q.judge.flags.UnencryptedScratch
}

func filesystemOK(name string) bool { return name == "ext4" || name == "xfs" }

func (q *question) rwMountDevice(in point.RWMountDeviceInput) *point.Verdict {
	if q.deviceMounted(in.Target) || !q.encryptionOK(in.Encrypted) || !in.EnsureFilesystem || !filesystemOK(in.Filesystem) ||
		!q.mountPathOK(in.MountPathRegex, in.Target) {
		return nil
	}
	return allowed(q.change(q.add(tableRWDevices, in.Target, value{flag: true})))
}

// unmount removes what the state knows of; nothing else can be unmounted.
func (q *question) unmount(table tableID, target string) *point.Verdict {
	if !q.get(table, target).present {
		return nil
	}
	return allowed(q.change(q.remove(table, target)))
}

func (q *question) scratchMount(in point.ScratchMountInput) *point.Verdict {
	if q.get(tableScratch, in.Target).present || !q.encryptionOK(in.Encrypted) {
		return nil
	}
	return allowed(q.change(q.add(tableScratch, in.Target, value{flag: in.Encrypted})))
}

// overlayBucket are the containers whose layers are the mounted ones in this order. The policy lists layers base first, the
// request top first; a path that is no recorded device fits nothing.
func (q *question) overlayBucket(in point.MountOverlayInput) *bucket {
	hashes := make([]string, len(in.LayerPaths))
	for i, path := range in.LayerPaths {
		device := q.get(tableDevices, path)
		if !device.present {
			return nil
		}
		hashes[len(hashes)-1-i] = device.value.text
	}
	return q.judge.universe.bucket(hashes, false)
}

func (q *question) mountOverlay(in point.MountOverlayInput) *point.Verdict {
	taken := q.get(tableMatches, in.ContainerID).present
	if q.get(tableOverlays, in.Target).present || taken {
		return nil
	}
	b := q.overlayBucket(in)
	if b == nil {
		return nil
	}
	return allowed(q.change(
		q.add(tableMatches, in.ContainerID, value{set: &b.all}),
		q.add(tableOverlays, in.Target, value{flag: true}),
	))
}

// plan9Owners are the containers in whose directory a share would be mounted; only an id that has an overlay is one.
func (q *question) plan9Owners(in point.Plan9MountInput) []string {
	q.allMatches = true
	pattern := q.judge.matchers.agentPattern(in.MountPathPrefix)
	var owners []string
	for id := range q.judge.state.tables[tableMatches] {
		dir := in.RootPrefix + "/" + id
		if q.step() && strings.HasPrefix(in.Target, dir+"/") && pattern.matches(strings.TrimPrefix(in.Target, dir)) {
			owners = append(owners, id)
		}
	}
	slices.Sort(owners)
	return owners
}

func (q *question) plan9Mount(in point.Plan9MountInput) *point.Verdict {
	if q.get(tablePlan9, in.Target).present {
		return nil
	}
	owners := q.plan9Owners(in)
	if len(owners) != 1 {
		return nil
	}
	return allowed(q.change(q.add(tablePlan9, in.Target, value{text: owners[0]})))
}
