package enforcer

import (
	"github.com/cloister-cc/cloister/enforcer/point"
)

// Point names an enforcement point: the rule of the policy that is asked, in the policy contract's spelling.
type Point = point.Point

// The enforcement points of the policy contract, section 2.2.
const (
	PointMountDevice               = point.MountDevice
	PointRWMountDevice             = point.RWMountDevice
	PointMountBlockDev             = point.MountBlockDev
	PointMountOverlay              = point.MountOverlay
	PointMountCIMs                 = point.MountCIMs
	PointRegistryChanges           = point.RegistryChanges
	PointCreateContainer           = point.CreateContainer
	PointUnmountDevice             = point.UnmountDevice
	PointRWUnmountDevice           = point.RWUnmountDevice
	PointUnmountBlockDev           = point.UnmountBlockDev
	PointUnmountOverlay            = point.UnmountOverlay
	PointExecInContainer           = point.ExecInContainer
	PointExecExternal              = point.ExecExternal
	PointShutdownContainer         = point.ShutdownContainer
	PointSignalContainerProcess    = point.SignalContainerProcess
	PointPlan9Mount                = point.Plan9Mount
	PointPlan9Unmount              = point.Plan9Unmount
	PointGetProperties             = point.GetProperties
	PointDumpStacks                = point.DumpStacks
	PointRuntimeLogging            = point.RuntimeLogging
	PointLoadFragment              = point.LoadFragment
	PointScratchMount              = point.ScratchMount
	PointScratchUnmount            = point.ScratchUnmount
	PointLogProvider               = point.LogProvider
	PointLoadTransparencyTrustList = point.LoadTransparencyTrustList
	PointHostNetwork               = point.HostNetwork
)

// Input is what one enforcement point is asked.
type Input = point.Input

// Mount is one mount of a container, with its source already resolved by the agent.
type Mount = point.Mount

// The inputs of the enforcement points and what they are made of.
type (
	User                           = point.User
	Capabilities                   = point.Capabilities
	Device                         = point.Device
	MountDeviceInput               = point.MountDeviceInput
	RWMountDeviceInput             = point.RWMountDeviceInput
	MountBlockDevInput             = point.MountBlockDevInput
	UnmountDeviceInput             = point.UnmountDeviceInput
	RWUnmountDeviceInput           = point.RWUnmountDeviceInput
	UnmountBlockDevInput           = point.UnmountBlockDevInput
	MountOverlayInput              = point.MountOverlayInput
	UnmountOverlayInput            = point.UnmountOverlayInput
	ScratchMountInput              = point.ScratchMountInput
	ScratchUnmountInput            = point.ScratchUnmountInput
	Plan9MountInput                = point.Plan9MountInput
	Plan9UnmountInput              = point.Plan9UnmountInput
	CreateContainerInput           = point.CreateContainerInput
	ExecInContainerInput           = point.ExecInContainerInput
	ExecExternalInput              = point.ExecExternalInput
	ShutdownContainerInput         = point.ShutdownContainerInput
	SignalContainerProcessInput    = point.SignalContainerProcessInput
	GetPropertiesInput             = point.GetPropertiesInput
	DumpStacksInput                = point.DumpStacksInput
	RuntimeLoggingInput            = point.RuntimeLoggingInput
	HostNetworkInput               = point.HostNetworkInput
	LoadFragmentInput              = point.LoadFragmentInput
	Receipt                        = point.Receipt
	LoadTransparencyTrustListInput = point.LoadTransparencyTrustListInput
	MountCIMsInput                 = point.MountCIMsInput
	RegistryChangesInput           = point.RegistryChangesInput
	LogProviderInput               = point.LogProviderInput
)

// DecodeInput reads the input of a point from JSON, with the Rego names as keys.
func DecodeInput(p Point, data []byte) (Input, error) { return point.DecodeInput(p, data) }

// PointInfo is a row of the api table, for documentation, tools and tests.
type PointInfo struct {
	Point Point
	// Since is the api version that introduced the point; Default is what an older policy without the rule gets:
	// "allow", "deny" or "framework".
	Since, Default string
	// Unsupported says why the point is refused whatever the policy says; empty when it is not.
	Unsupported string
}

// Points lists all enforcement points in the order they were introduced.
func Points() []PointInfo {
	rows := point.Rows()
	list := make([]PointInfo, len(rows))
	for i, row := range rows {
		list[i] = PointInfo{Point: row.Point, Since: row.Since, Default: row.Default.String(), Unsupported: row.Unsupported}
	}
	return list
}
