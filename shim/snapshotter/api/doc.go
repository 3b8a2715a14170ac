// Package api is the wire form of the snapshotter daemon's own service: the generated code of layers.proto.
package api
