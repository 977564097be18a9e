//! tonic's `Connected`, so that its servers take the streams of tasks.

use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::task::TcpStream;

/// With it `tonic::transport::Server::serve_with_incoming` takes the streams, and `remote_addr` of
/// a request is that of the peer.
impl Connected for TcpStream {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo { local_addr: self.local_addr().ok(), remote_addr: self.peer_addr().ok() }
    }
}

#[cfg(test)]
mod tests {
    use portolan::Medium::Ip;
    use tokio::io::{AsyncRead, AsyncWrite};

    use super::*;
    use crate::builder::Builder;
    use crate::device::MemoryPair;
    use crate::task::TcpListener;

    /// What `tonic::transport::Server::serve_with_incoming` demands of a stream.
    fn is_taken_by_tonic<
        S: Connected<ConnectInfo: Sync> + AsyncRead + AsyncWrite + Unpin + Send + 'static,
    >(
        stream: S,
    ) -> S {
        stream
    }

    #[test]
    fn a_stream_tells_both_addresses() {
        let executor = tokio::runtime::Builder::new_current_thread().build().unwrap();
        executor.block_on(async {
            let (device, _other_end) = MemoryPair::new().mediums(Ip, Ip).build().unwrap();
            let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse().unwrap()]).start().unwrap();
            let addr = ([10, 0, 0, 1], 50051).into();
            let listener = TcpListener::bind(&runtime, addr).await.unwrap();
            let near = TcpStream::connect(&runtime, addr).await.unwrap();
            let (far, _) = listener.accept().await.unwrap();
            let info = is_taken_by_tonic(far).connect_info();
            assert_eq!((info.local_addr(), info.remote_addr()), (Some(addr), near.local_addr().ok()));
        });
    }
}
