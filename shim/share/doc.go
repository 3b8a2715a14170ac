// Package share brings small files of the host into the guest through the agent's CopyFile: ConfigMaps, Secrets, projected tokens, the downward API. It watches
// what it brought and brings it again when the host's side changes.
package share
