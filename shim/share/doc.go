// Package share brings small files of the host into the guest through the agent's CopyFile: ConfigMaps, Secrets, projected tokens, the downward API, the termination
// message, the lines of kubelet's hosts file. It watches the directories it brought and brings them again when the host's side changes, swapping as kubelet does: the
// new files first, then the link through which they are read.
//
// The files are kubelet's, and the host's to read. No link is followed but kubelet's own one inside its volume; sizes, counts and depths have the limits of the guest's
// area and are checked before anything is sent; what does not fit is an error that names the mount. A file that goes on the host stays in the guest: the agent's call has
// no word for removal, but for what a swap replaces.
package share
