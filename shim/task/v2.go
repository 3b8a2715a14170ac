package task

import (
	"context"

	taskv2 "github.com/containerd/containerd/api/runtime/task/v2"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
)

// RegisterTTRPC serves the task API in both versions, and the sandbox API.
func (s *Service) RegisterTTRPC(server *ttrpc.Server) error {
	taskv3.RegisterTTRPCTaskService(server, s)
	taskv2.RegisterTTRPCTaskService(server, older{s})
	sandboxapi.RegisterTTRPCSandboxService(server, sandboxService{s})
	return nil
}

// older serves version 2 of the task API. Its messages are those of version 3 in another package, alike on the wire.
type older struct{ s *Service }

// relay answers a request of version 2 by the method of version 3.
func relay[Q3, A3, A2 any, PQ3 message[Q3], PA3 message[A3], PA2 message[A2]](
	ctx context.Context, request proto.Message, call func(context.Context, PQ3) (PA3, error),
) (PA2, error) {
	asked := PQ3(new(Q3))
	if err := convert(asked, request); err != nil {
		return nil, err
	}
	answer, err := call(ctx, asked)
	if err != nil {
		return nil, err
	}
	told := PA2(new(A2))
	return told, convert(told, answer)
}

type message[T any] interface {
	*T
	proto.Message
}

func convert(to, from proto.Message) error {
	data, err := proto.Marshal(from)
	if err != nil {
		return wire(err)
	}
	return wire(proto.Unmarshal(data, to))
}

func (o older) State(ctx context.Context, r *taskv2.StateRequest) (*taskv2.StateResponse, error) {
	return relay[taskv3.StateRequest, taskv3.StateResponse, taskv2.StateResponse](ctx, r, o.s.State)
}

func (o older) Create(ctx context.Context, r *taskv2.CreateTaskRequest) (*taskv2.CreateTaskResponse, error) {
	return relay[taskv3.CreateTaskRequest, taskv3.CreateTaskResponse, taskv2.CreateTaskResponse](ctx, r, o.s.Create)
}

func (o older) Start(ctx context.Context, r *taskv2.StartRequest) (*taskv2.StartResponse, error) {
	return relay[taskv3.StartRequest, taskv3.StartResponse, taskv2.StartResponse](ctx, r, o.s.Start)
}

func (o older) Delete(ctx context.Context, r *taskv2.DeleteRequest) (*taskv2.DeleteResponse, error) {
	return relay[taskv3.DeleteRequest, taskv3.DeleteResponse, taskv2.DeleteResponse](ctx, r, o.s.Delete)
}

func (o older) Pids(ctx context.Context, r *taskv2.PidsRequest) (*taskv2.PidsResponse, error) {
	return relay[taskv3.PidsRequest, taskv3.PidsResponse, taskv2.PidsResponse](ctx, r, o.s.Pids)
}

func (o older) Pause(ctx context.Context, r *taskv2.PauseRequest) (*emptypb.Empty, error) {
	return relay[taskv3.PauseRequest, emptypb.Empty, emptypb.Empty](ctx, r, o.s.Pause)
}

func (o older) Resume(ctx context.Context, r *taskv2.ResumeRequest) (*emptypb.Empty, error) {
	return relay[taskv3.ResumeRequest, emptypb.Empty, emptypb.Empty](ctx, r, o.s.Resume)
}

func (o older) Checkpoint(ctx context.Context, r *taskv2.CheckpointTaskRequest) (*emptypb.Empty, error) {
	return relay[taskv3.CheckpointTaskRequest, emptypb.Empty, emptypb.Empty](ctx, r, o.s.Checkpoint)
}

func (o older) Kill(ctx context.Context, r *taskv2.KillRequest) (*emptypb.Empty, error) {
	return relay[taskv3.KillRequest, emptypb.Empty, emptypb.Empty](ctx, r, o.s.Kill)
}

func (o older) Exec(ctx context.Context, r *taskv2.ExecProcessRequest) (*emptypb.Empty, error) {
	return relay[taskv3.ExecProcessRequest, emptypb.Empty, emptypb.Empty](ctx, r, o.s.Exec)
}

func (o older) ResizePty(ctx context.Context, r *taskv2.ResizePtyRequest) (*emptypb.Empty, error) {
	return relay[taskv3.ResizePtyRequest, emptypb.Empty, emptypb.Empty](ctx, r, o.s.ResizePty)
}

func (o older) CloseIO(ctx context.Context, r *taskv2.CloseIORequest) (*emptypb.Empty, error) {
	return relay[taskv3.CloseIORequest, emptypb.Empty, emptypb.Empty](ctx, r, o.s.CloseIO)
}

func (o older) Update(ctx context.Context, r *taskv2.UpdateTaskRequest) (*emptypb.Empty, error) {
	return relay[taskv3.UpdateTaskRequest, emptypb.Empty, emptypb.Empty](ctx, r, o.s.Update)
}

func (o older) Wait(ctx context.Context, r *taskv2.WaitRequest) (*taskv2.WaitResponse, error) {
	return relay[taskv3.WaitRequest, taskv3.WaitResponse, taskv2.WaitResponse](ctx, r, o.s.Wait)
}

func (o older) Stats(ctx context.Context, r *taskv2.StatsRequest) (*taskv2.StatsResponse, error) {
	return relay[taskv3.StatsRequest, taskv3.StatsResponse, taskv2.StatsResponse](ctx, r, o.s.Stats)
}

func (o older) Connect(ctx context.Context, r *taskv2.ConnectRequest) (*taskv2.ConnectResponse, error) {
	return relay[taskv3.ConnectRequest, taskv3.ConnectResponse, taskv2.ConnectResponse](ctx, r, o.s.Connect)
}

func (o older) Shutdown(ctx context.Context, r *taskv2.ShutdownRequest) (*emptypb.Empty, error) {
	return relay[taskv3.ShutdownRequest, emptypb.Empty, emptypb.Empty](ctx, r, o.s.Shutdown)
}
