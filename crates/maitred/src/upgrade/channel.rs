//! One packet a message, with descriptors beside.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    cmsg_space,
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, shutdown, socketpair,
        sockopt::{Timeout, set_socket_timeout},
    },
};

use super::Message;

/// The longest packet. A place is an address and a name, so that a packet of [`BATCH`] of them is far below it.
const LONGEST: usize = 96 * 1024;

/// How many descriptors go with one packet; the system's limit (`SCM_MAX_FD`) is 253.
pub const BATCH: usize = 64;

/// How long a packet may take to be sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Until then.
    Until(Instant),
    /// Not at all: it is sent at once, or not.
    Now,
}

/// One end of a channel between two processes.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Both ends of a new one.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, two) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(one), Self(two)))
    }

    /// The end that a descriptor is.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The descriptor, for a process to inherit.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Once more the same end.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Sends a message with descriptors.
    pub fn send(&self, message: &Message, fds: &[BorrowedFd<'_>], pace: Pace) -> io::Result<()> {
        let packet = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one packet"));
        }
        let mut flags = SendFlags::NOSIGNAL;
        match pace {
            Pace::Now => flags |= SendFlags::DONTWAIT,
            Pace::Until(deadline) => set_socket_timeout(&self.0, Timeout::Send, Some(left(deadline)))?,
        }
        match sendmsg(&self.0, &[IoSlice::new(&packet)], &mut beside, flags) {
            Err(rustix::io::Errno::AGAIN) => Err(io::ErrorKind::TimedOut.into()),
            sent => sent.map(|_| ()).map_err(io::Error::from),
        }
    }

    /// Ends the talk for both sides.
    pub fn end(&self) {
        // The other side may have ended it.
        let _ = shutdown(&self.0, Shutdown::Both);
    }

    /// Whether a message waits to be received, or the end of them.
    pub fn has_news(&self) -> bool {
        self.looks(PollFlags::IN).contains(PollFlags::IN)
    }

    /// The messages that wait to be received, up to the end of them.
    pub fn news(&self) -> impl Iterator<Item = Message> {
        let next = || self.has_news().then(|| self.receive(Some(Instant::now())).ok())?;
        std::iter::from_fn(move || next().map(|(message, _)| message))
    }

    /// Whether anybody has the other end.
    pub fn is_heard(&self) -> bool {
        !self.looks(PollFlags::empty()).contains(PollFlags::HUP)
    }

    fn looks(&self, flags: PollFlags) -> PollFlags {
        let mut looked = [PollFd::new(&self.0, flags)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut looked, Some(&now)) {
            Ok(_) => looked[0].revents(),
            Err(_) => PollFlags::HUP,
        }
    }

    /// Waits for a message until `deadline`, or for ever where there is none.
    pub fn receive(&self, deadline: Option<Instant>) -> io::Result<(Message, Vec<OwnedFd>)> {
        set_socket_timeout(&self.0, Timeout::Recv, deadline.map(left))?;
        let mut packet = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut packet)], &mut beside, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                received => break received?,
            }
        };
        let mut fds = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((serde_json::from_slice(&packet[..received.bytes])?, fds))
    }
}

/// What is left until then, but never zero, which would stand for no limit at all.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upgrade::Handed;

    fn hello() -> Message {
        Message::Hello { version: "1".into(), pid: 7, counters: true, keeps: Vec::new(), stays: true }
    }

    #[test]
    fn messages_arrive_one_by_one_with_their_descriptors() {
        let (one, two) = Channel::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let sockets = vec![Handed::Listener("127.0.0.1:80".into()), Handed::Supervisor];
        assert!(!two.has_news());
        one.send(&hello(), &[], Pace::Now).unwrap();
        assert!(two.has_news());
        one.send(&Message::Sockets { sockets: sockets.clone() }, &[file.as_fd(), one.as_fd()], Pace::Now).unwrap();
        let (hello, none) = two.receive(None).unwrap();
        assert!(matches!(hello, Message::Hello { pid: 7, .. }) && none.is_empty());
        let (message, fds) = two.receive(None).unwrap();
        assert!(matches!(message, Message::Sockets { sockets: found } if found == sockets));
        assert_eq!(fds.len(), 2);
        let late = two.receive(Some(Instant::now())).err().unwrap();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert!(two.is_heard());
        drop((one, fds));
        assert!(!two.is_heard());
        assert_eq!(two.receive(None).err().unwrap().kind(), io::ErrorKind::UnexpectedEof);
    }
}
