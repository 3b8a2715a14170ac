package gate

import "github.com/cloister-cc/cloister/enforcer"

// Way is how a method is judged.
type Way int

const (
	// Refused: the method never does anything.
	Refused Way = iota
	// Form: no decision point; lifecycle and form checks only.
	Form
	// Decided: the policy is asked at the row's points.
	Decided
	// Stdio: the container's stdio decision, taken when it was created.
	Stdio
	// Own: the gate itself decides (binding a policy).
	Own
)

// Row is one method's entry.
type Row struct {
	Method  string // service/method as on the wire
	Message string // the request message: the name a refusal carries
	Way     Way
	Points  []enforcer.Point // what a Decided method may ask
	Unbound bool             // admitted before a policy is bound
	Why     string           // of Refused: what the host is told
}

// Rows has one entry for every method of every service.
var Rows = []Row{
	{Method: "grpc.Health/Check", Message: "CheckRequest", Way: Form, Unbound: true},
	{Method: "grpc.Health/Version", Message: "CheckRequest", Way: Form, Unbound: true},
	{Method: "grpc.AgentService/GetGuestDetails", Message: "GuestDetailsRequest", Way: Form, Unbound: true},
	{Method: "grpc.AgentService/SetPolicy", Message: "SetPolicyRequest", Way: Own, Unbound: true},

	{Method: "grpc.AgentService/CreateSandbox", Message: "CreateSandboxRequest", Way: Form},
	{Method: "grpc.AgentService/DestroySandbox", Message: "DestroySandboxRequest", Way: Form},
	{
		Method: "grpc.AgentService/CreateContainer", Message: "CreateContainerRequest", Way: Decided,
		Points: []enforcer.Point{
			enforcer.PointMountDevice, enforcer.PointRWMountDevice, enforcer.PointScratchMount, enforcer.PointMountOverlay, enforcer.PointCreateContainer,
			enforcer.PointUnmountDevice, enforcer.PointRWUnmountDevice, enforcer.PointScratchUnmount, enforcer.PointUnmountOverlay,
		},
	},
	{Method: "grpc.AgentService/StartContainer", Message: "StartContainerRequest", Way: Form},
	{
		Method: "grpc.AgentService/RemoveContainer", Message: "RemoveContainerRequest", Way: Decided,
		Points: []enforcer.Point{
			enforcer.PointShutdownContainer, enforcer.PointUnmountOverlay, enforcer.PointScratchUnmount, enforcer.PointRWUnmountDevice, enforcer.PointUnmountDevice,
		},
	},
	{Method: "grpc.AgentService/ExecProcess", Message: "ExecProcessRequest", Way: Decided, Points: []enforcer.Point{enforcer.PointExecInContainer}},
	{
		Method: "grpc.AgentService/SignalProcess", Message: "SignalProcessRequest", Way: Decided,
		Points: []enforcer.Point{enforcer.PointSignalContainerProcess, enforcer.PointShutdownContainer},
	},
	{Method: "grpc.AgentService/WaitProcess", Message: "WaitProcessRequest", Way: Form},
	{Method: "grpc.AgentService/UpdateContainer", Message: "UpdateContainerRequest", Way: Form},
	{Method: "grpc.AgentService/UpdateEphemeralMounts", Message: "UpdateEphemeralMountsRequest", Why: "ephemeral mounts are fixed when the sandbox is created"},
	{Method: "grpc.AgentService/StatsContainer", Message: "StatsContainerRequest", Way: Decided, Points: []enforcer.Point{enforcer.PointGetProperties}},
	{Method: "grpc.AgentService/PauseContainer", Message: "PauseContainerRequest", Way: Form},
	{Method: "grpc.AgentService/ResumeContainer", Message: "ResumeContainerRequest", Way: Form},
	{Method: "grpc.AgentService/RemoveStaleVirtiofsShareMounts", Message: "RemoveStaleVirtiofsShareMountsRequest", Way: Form},
	{
		Method: "grpc.AgentService/GetDiagnosticData", Message: "GetDiagnosticDataRequest", Way: Decided,
		Points: []enforcer.Point{enforcer.PointDumpStacks, enforcer.PointRuntimeLogging},
	},

	{Method: "grpc.AgentService/WriteStdin", Message: "WriteStreamRequest", Way: Stdio},
	{Method: "grpc.AgentService/ReadStdout", Message: "ReadStreamRequest", Way: Stdio},
	{Method: "grpc.AgentService/ReadStderr", Message: "ReadStreamRequest", Way: Stdio},
	{Method: "grpc.AgentService/CloseStdin", Message: "CloseStdinRequest", Way: Stdio},
	{Method: "grpc.AgentService/TtyWinResize", Message: "TtyWinResizeRequest", Way: Stdio},

	{Method: "grpc.AgentService/UpdateInterface", Message: "UpdateInterfaceRequest", Way: Form},
	{Method: "grpc.AgentService/UpdateRoutes", Message: "UpdateRoutesRequest", Way: Form},
	{Method: "grpc.AgentService/AddARPNeighbors", Message: "AddARPNeighborsRequest", Way: Form},
	{Method: "grpc.AgentService/ListInterfaces", Message: "ListInterfacesRequest", Way: Decided, Points: []enforcer.Point{enforcer.PointGetProperties}},
	{Method: "grpc.AgentService/ListRoutes", Message: "ListRoutesRequest", Way: Decided, Points: []enforcer.Point{enforcer.PointGetProperties}},
	{Method: "grpc.AgentService/GetIPTables", Message: "GetIPTablesRequest", Why: "the guest has no packet filter that the host may see"},
	{Method: "grpc.AgentService/SetIPTables", Message: "SetIPTablesRequest", Why: "the guest has no packet filter that the host may set"},

	{Method: "grpc.AgentService/GetMetrics", Message: "GetMetricsRequest", Way: Decided, Points: []enforcer.Point{enforcer.PointGetProperties}},
	{Method: "grpc.AgentService/GetVolumeStats", Message: "VolumeStatsRequest", Way: Decided, Points: []enforcer.Point{enforcer.PointGetProperties}},
	{Method: "grpc.AgentService/GetOOMEvent", Message: "GetOOMEventRequest", Way: Form},
	{Method: "grpc.AgentService/OnlineCPUMem", Message: "OnlineCPUMemRequest", Way: Form},
	{Method: "grpc.AgentService/CopyFile", Message: "CopyFileRequest", Way: Form},

	{Method: "grpc.AgentService/MemAgentMemcgSet", Message: "MemAgentMemcgConfig", Why: "there is no memory agent"},
	{Method: "grpc.AgentService/MemAgentCompactSet", Message: "MemAgentCompactConfig", Why: "there is no memory agent"},
	{Method: "grpc.AgentService/ReseedRandomDev", Message: "ReseedRandomDevRequest", Why: "the host does not seed the guest's random numbers"},
	{Method: "grpc.AgentService/MemHotplugByProbe", Message: "MemHotplugByProbeRequest", Why: "memory is fixed at launch"},
	{Method: "grpc.AgentService/SetGuestDateTime", Message: "SetGuestDateTimeRequest", Why: "the host does not set the guest's clock"},
	{Method: "grpc.AgentService/AddSwap", Message: "AddSwapRequest", Why: "guest memory is never swapped to the host"},
	{Method: "grpc.AgentService/AddSwapPath", Message: "AddSwapPathRequest", Why: "guest memory is never swapped to the host"},
	{Method: "grpc.AgentService/ResizeVolume", Message: "ResizeVolumeRequest", Why: "volumes have a fixed size"},

	{
		Method: "cloister.v1.Agent/LoadFragment", Message: "LoadFragmentRequest", Way: Decided,
		Points: []enforcer.Point{enforcer.PointLoadFragment, enforcer.PointLoadTransparencyTrustList},
	},
	{Method: "cloister.v1.Agent/Explain", Message: "ExplainRequest", Way: Decided, Points: []enforcer.Point{enforcer.PointRuntimeLogging}},
	{Method: "cloister.v1.Agent/Evidence", Message: "EvidenceRequest", Way: Form},
	{Method: "cloister.v1.Agent/Logs", Message: "LogsRequest", Way: Decided, Points: []enforcer.Point{enforcer.PointRuntimeLogging}},
}

var byMethod = func() map[string]*Row {
	m := map[string]*Row{}
	for i := range Rows {
		m[Rows[i].Method] = &Rows[i]
	}
	return m
}()
