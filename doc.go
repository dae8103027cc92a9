// Package grace lets a service replace itself with a new process without its clients noticing.
//
// The old process hands its listening sockets to the new one, the new one says when it is ready,
// and only then does the old one stop accepting, finish its work and leave. From the first bind to
// the last exit the sockets are open in some process, so no connection is refused. Until the new
// process is ready the old one serves as if nothing had happened, so a release that does not come
// up is a failed [Manager.Upgrade] and not an outage.
//
//	m, err := grace.New(grace.WithLogger(slog.Default())) // at the start of main
//	ln, err := m.Listen(ctx, "tcp", ":8080")              // binds, or takes over
//	go serve(ln)
//	return m.Run(ctx) // SIGHUP upgrades, SIGTERM ends; nil when all connections have ended
//
// The program examples/echo is the whole of it for TCP; package gracehttp serves HTTP, and
// gracegrpc gRPC. A service with a main loop of its own calls [Manager.Ready], [Manager.Upgrade]
// and [Manager.Shutdown] instead of [Manager.Run]. [Hook] lists the moments at which an application
// can act, [WithLogger] and [WithObserver] tell what happens (package graceevent), and [Manager.Go]
// runs what the service cannot do without.
//
// # Generations
//
// A generation is the life of one process. One serves, at most one successor starts, and older ones
// drain:
//
//	starting --Ready--> serving --Upgrade--> upgrading --successor ready--> (probation) --> draining --> done
//	                       ^                     |                               |
//	                       +---- it failed ------+---- the successor failed -----+
//
// Whichever process crashes, hangs or is cancelled, exactly one generation ends up serving:
//
//   - The successor exits, fails or is not ready in time, or the context of Upgrade ends: the
//     successor is killed, Upgrade returns an [*UpgradeError], and the old process keeps serving with
//     the same listeners. It may upgrade again.
//   - The old process dies before it has committed the handoff: the successor takes over when it is
//     ready.
//   - The successor dies after it was told to serve, before it has acknowledged that: the old process
//     keeps serving.
//   - The successor dies on probation, is found ill or calls [Manager.Fail]: the old process keeps
//     serving, and the successor finishes what it has accepted.
//   - The old process outlives its drain timeout: it is signalled, see OnParentKill in [Hook].
//
// # The commit
//
// In a successor, Accept of a listener from [Manager.Listen] and the reads of a connection from
// [Manager.ListenPacket] wait until the handoff is committed. Servers can therefore start before
// the process is ready, and a start-up that fails later has taken no connection with it. From the
// commit on they wait in the old process. With [WithProbation] both processes accept for a while
// before the commit.
//
// # The drain
//
// After an upgrade, and after a shutdown, a process finishes its work within [WithDrainTimeout]: it
// runs the OnDrain hooks, closes its listeners, and waits until every connection that was accepted
// from them has ended. Nobody has to count connections: the kernel is asked. What is open at the
// end of the timeout ends with the process, and is counted in the log of both processes.
//
// Several generations may drain at once, up to [WithMaxDraining]; the process that serves follows
// all of them.
//
// A connection can also move to the successor during the drain, with its state: [Manager.Transfer].
// [Manager.PassFile] and [Manager.PassState] are for what a successor needs before it is ready.
//
// # The successor
//
// It executes the same path, resolved again, with the arguments, directory and environment that the
// first process had in [New], and shares its standard streams. It gets exactly the sockets, one end
// of a connection to the old process, and what the application passes; on Linux, not even a
// descriptor that the program has left without close-on-exec. New removes the variables
// that announce them (LISTEN_FDS, LISTEN_FDNAMES, GRACE_LINK) and makes the descriptors
// close-on-exec, so that no other child of the process can take them for its own. (Package
// initialization runs before New: what an init function starts still inherits both. Start helpers
// after New.) The flags of the shared sockets are never touched: os/exec would clear O_NONBLOCK in
// both processes (golang.org/issue/29277).
//
// The environment of the first process travels to all generations, so that [WithEnv] always extends
// that one. Overwriting the memory of arguments and environment after New, as packages do that set
// the title of a process, changes nothing for successors.
//
// A process that was started with more rights than its parent has (by a set-user-ID or
// set-group-ID file or file capabilities) takes no sockets from it, and no signal: the announced
// descriptors stay open and unused, and [graceevent.AnnouncementIgnored] tells of it. An exception
// is a parent with the same effective user and group that has all capabilities of this process: the
// service before an upgrade, as long as it keeps its rights. For file capabilities alone that is no
// proof: a user can prepare a link, and then execute the service as the parent of another one. So
// with others than those for networks, such as CAP_NET_BIND_SERVICE, New fails and the service
// cannot be upgraded: prefer AmbientCapabilities= of systemd.exec(5). On the BSDs and macOS such
// services cannot be upgraded at all. A change of the domain of SELinux counts as more rights,
// unless the policy allows noatsecure. See also [WithExecutable].
//
// # Coming from facebookgo/grace
//
// A running program of facebookgo/grace can be replaced by one of this package, and the other way
// round: install the program, and send SIGUSR2.
//
// A parent of facebookgo/grace is recognized by having passed its sockets in LISTEN_FDS, without a
// LISTEN_PID of ours, to its own command. Ready sends it SIGTERM, which makes it drain;
// OnParentKill can object. (Except on Linux, where the command of another process can be seen, any
// parent that passes sockets so is signalled, unless it is PID 1; facebookgo/grace does so
// everywhere.) The path of a unix socket, which such a parent removes, is restored within a few
// milliseconds.
//
// A successor of facebookgo/grace sends SIGTERM to this process when it serves. During an upgrade
// under [Manager.Run], with SIGTERM among [WithShutdownSignals], that is its word and not the end
// of the service, if the successor has taken sockets before it has read what this process sends it
// at first: none of this package can. That is seen on Linux alone, where /proc/PID/fd can be read;
// elsewhere SIGTERM ends the service. A context of [os/signal.NotifyContext] that this SIGTERM
// cancels cancels neither Run nor the Upgrade: with such a successor, the end of a context, or a
// Shutdown, waits up to 2 seconds for the signal. Package os/signal does not say who sends one, so
// an operator's SIGTERM at that moment is taken for the successor's and ends this process alone. For
// such a successor there is no probation, it gets sockets and nothing else, and the PID file is
// written on its behalf.
//
// # Limits
//
// Linux is complete. On macOS and the BSDs there are no transfers, and only the parent can be
// signalled. On Windows, Listen and Run work, connections are not waited for, and Upgrade returns
// an error that matches [errors.ErrUnsupported]; so it does where the end of this process would end
// its container, as that of PID 1 does, see [WithoutContainerCheck].
//
// A successor is a child of the old process. Service managers that supervise a main process have to
// be told of the new one: those that follow a PID file are, by [WithPIDFile]. Under systemd, socket
// activation works, and an upgrade does not yet tell systemd of the new main process.
//
// Two processes on probation that read one UDP socket take each other's packets: that is harmless
// for protocols of one question and one answer, and not for QUIC.
//
// An upgrade needs a few descriptors, a process and its threads on top of what the service uses.
// Where a limit forbids them (RLIMIT_NOFILE, RLIMIT_NPROC, pids.max of a container), or the
// environment is too long, the error of Upgrade matches EMFILE, EAGAIN or E2BIG of package syscall.
// The Go runtime ends a process that gets no thread when it needs one: leave room.
//
// Go raises the soft limit on descriptors for itself, and gives what it starts the limit that it
// was started with. On Linux (amd64 and arm64) a successor that gets more sockets and files than
// that has a higher one. Elsewhere its dynamic linker cannot open its libraries then: start the
// service with a higher soft limit (LimitNOFILE= in systemd.exec(5)), link it statically, or have it
// call [syscall.Setrlimit], after which Go hands its limit on.
//
// While the kernel opens a program, package syscall would stop this process at the next garbage
// collection (it uses vfork(2)), which takes seconds where the file comes from a network or is
// scanned first. A successor is started in another way on Linux on amd64 and arm64: nothing stops,
// and Upgrade returns when its context ends. On other systems keep the program on a local disk.
package grace
