//! `wasi:keyvalue@0.2.0-draft2`: the draft after it, as Spin has it.

use wasmtime::component::{HasSelf, Linker, Resource};

use super::{Bucket, Cas, Failure, unlisted};
use crate::function::state::{Ctx, Guest};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/keyvalue2.wit",
        with: {
            "wasi:keyvalue/store.bucket": super::super::Bucket,
            "wasi:keyvalue/atomics.cas": super::super::Cas,
        },
        imports: { default: async | trappable },
    });
    pub(super) use wasi::keyvalue::*;
}

use bindings::atomics::CasError;
use bindings::store::{Error, KeyResponse};
use bindings::{atomics, batch, store};

/// The outer error ends the function.
type Answer<T> = wasmtime::Result<Result<T, Error>>;

pub(super) fn add_to_linker(
    linker: &mut Linker<Ctx>,
    guest: fn(&mut Ctx) -> &mut Guest,
) -> wasmtime::Result<()> {
    store::add_to_linker::<_, HasSelf<_>>(linker, guest)?;
    atomics::add_to_linker::<_, HasSelf<_>>(linker, guest)?;
    batch::add_to_linker::<_, HasSelf<_>>(linker, guest)
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoSuchStore => Self::NoSuchStore,
            Failure::AccessDenied => Self::AccessDenied,
            Failure::Other(message) => Self::Other(message),
        }
    }
}

impl store::Host for Guest {
    async fn open(&mut self, identifier: String) -> Answer<Resource<Bucket>> {
        Ok(self.bucket_open(&identifier)?.map_err(Error::from))
    }
}

impl store::HostBucket for Guest {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Option<Vec<u8>>> {
        Ok(self.bucket_get(&bucket, &key).await?.map_err(Error::from))
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Answer<()> {
        Ok(self.bucket_set(&bucket, key, value).await?.map_err(Error::from))
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<()> {
        Ok(self.bucket_delete(&bucket, &key).await?.map_err(Error::from))
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<bool> {
        let value = self.bucket_get(&bucket, &key).await?;
        Ok(value.map(|value| value.is_some()).map_err(Error::from))
    }

    async fn list_keys(&mut self, _: Resource<Bucket>, _: Option<String>) -> Answer<KeyResponse> {
        Ok(Err(unlisted().into()))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.handles.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for Guest {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> Answer<i64> {
        Ok(self.bucket_increment(&bucket, &key, delta).await?.map_err(Error::from))
    }

    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> wasmtime::Result<Result<(), CasError>> {
        Ok(match self.cas_swap(cas, value).await? {
            Ok(None) => Ok(()),
            Ok(Some(now)) => Err(CasError::CasFailed(now)),
            Err(failure) => Err(CasError::StoreError(failure.into())),
        })
    }
}

impl atomics::HostCas for Guest {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Resource<Cas>> {
        Ok(self.cas_new(&bucket, key).await?.map_err(Error::from))
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Answer<Option<Vec<u8>>> {
        let read = self.handles.get(&cas)?.read.as_ref();
        Ok(Ok(read.map(|entry| entry.value.to_vec())))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.let_go(cas)?;
        Ok(())
    }
}

impl batch::Host for Guest {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Answer<Vec<(String, Option<Vec<u8>>)>> {
        let values = self.bucket_get_many(&bucket, &keys).await?;
        Ok(values.map(|values| keys.into_iter().zip(values).collect()).map_err(Error::from))
    }

    async fn set_many(&mut self, bucket: Resource<Bucket>, pairs: Vec<(String, Vec<u8>)>) -> Answer<()> {
        Ok(self.bucket_set_many(&bucket, pairs).await?.map_err(Error::from))
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Answer<()> {
        Ok(self.bucket_delete_many(&bucket, keys).await?.map_err(Error::from))
    }
}
