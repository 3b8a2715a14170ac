// Package storage turns disks that the host plugged in into mounts, and takes them down again.
//
// The host controls every disk: its bytes, at any time; when it appears and vanishes; and which address it has. It also sends
// the requests that lead here. It never names a path: addresses are two numbers or PCI slots, and every name given to a mount
// is the agent's own.
//
// Trusted are the kernel and the root hash that the policy approved. What fails closed:
//
//   - A disk is read once, through one descriptor that stays open until it is mapped ([Manager.Open]); the mapping is then
//     compared with that reading (package verity).
//   - A disk must be a whole virtio disk that the kernel will not write to.
//   - Events are taken from the kernel only, and only as a reason to look again.
//   - A writable disk gets a key of the guest's own and holds nothing readable or changeable without it ([Manager.MountScratchDisk]).
//   - What a failed step has done is undone in reverse. When that fails too, or when it cannot be told whether a mount is
//     still there, the error is [ErrStateUnknown] and [Manager.Held] goes on naming what is left.
package storage
