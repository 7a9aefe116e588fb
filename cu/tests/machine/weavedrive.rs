//! WeaveDrive as the guest sees it, against the recorded run with a gateway.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use holon_cu::machine::{Call, Drive, DriveContext, DriveFile, Halt, HostFailure, Machine, Waiting};
use holon_protocol::{Tag, Tags};
use serde_json::Value;

use super::{
    LIMITS,
    conformance::{check, compiled},
    on_evaluation_thread, published,
};

/// Files by path; other ids below `/data` halt, and everything asked for is noted.
struct Stub {
    files: HashMap<String, Arc<dyn DriveFile>>,
    asked: Mutex<Vec<(String, u64)>>,
    tags: Tags,
}

impl Drive for Stub {
    fn open(
        &self,
        path: &str,
        context: &DriveContext<'_>,
        _: &mut Waiting<'_>,
    ) -> Result<Option<Arc<dyn DriveFile>>, HostFailure> {
        assert_eq!(context.process_tags, &self.tags);
        self.asked.lock().unwrap().push((path.to_owned(), context.block_height));
        match self.files.get(path) {
            Some(file) => Ok(Some(Arc::clone(file))),
            None => Err(Halt { reason: "FILE NOT FOUND".to_owned() }.into()),
        }
    }
}

fn stub(vector: &Value, tags: &Tags) -> Stub {
    let gateway = &vector["stubGateway"];
    let mut files: HashMap<String, Arc<dyn DriveFile>> = HashMap::new();
    for (id, description) in gateway["data"].as_object().unwrap() {
        let text = description.as_str().unwrap();
        let bytes = match text.strip_suffix(" bytes: the 26 lower case ASCII letters repeated") {
            Some(count) => (b'a'..=b'z').cycle().take(count.parse().unwrap()).collect(),
            None => text.as_bytes().to_vec(),
        };
        files.insert(format!("/data/{id}"), Arc::new(bytes));
    }
    let steps = vector["steps"].as_array().unwrap();
    // Headers are what the recorded answers hold: the drive prints them, the machine only passes them on.
    for (label, category) in [("tx header", "tx"), ("block header", "block")] {
        let step = steps.iter().find(|step| step["label"] == label).unwrap();
        let message: Value = serde_json::from_str(step["messageJson"].as_str().unwrap()).unwrap();
        let code = message["Data"].as_str().unwrap();
        let start = code.find(&format!("/{category}/")).unwrap();
        let path = code[start..].split('"').next().unwrap().to_owned();
        let text = step["result"]["Output"]["data"].as_str().unwrap();
        files.insert(path, Arc::new(text.as_bytes().to_vec()));
    }
    Stub { files, asked: Mutex::default(), tags: tags.clone() }
}

#[test]
fn the_recorded_run_is_reproduced_and_denied_data_halts_without_a_trace() {
    on_evaluation_thread(|| {
        let vector = published::vector("aos2_0_6-weavedrive");
        let environment = vector["envJson"].as_str().unwrap();
        let tags = Tags(vec![Tag::new("Name", "conformance")]);
        let drive = Arc::new(stub(&vector, &tags));
        let mut machine = Machine::new(&compiled(&vector), LIMITS, Arc::clone(&drive) as Arc<dyn Drive>).unwrap();
        let mut opened = Vec::new();
        for step in vector["steps"].as_array().unwrap() {
            let message = step["messageJson"].as_str().unwrap();
            let block_height = serde_json::from_str::<Value>(message).unwrap()["Block-Height"].as_u64().unwrap();
            let no_tags = Tags::default();
            let call = Call { message, environment, block_height, process_tags: &tags, module_tags: &no_tags };
            let before = machine.copy_memory();
            let result = machine.apply(&call);
            if step["outcome"] == "halt" {
                assert!(
                    matches!(&result, Err(HostFailure::Halt(halt)) if halt.reason == "FILE NOT FOUND"),
                    "{result:?}"
                );
                assert!(result.unwrap_err().retryable());
                assert!(machine.copy_memory() == before);
            } else {
                check(step, &result.unwrap());
            }
            for (_, height) in drive.asked.lock().unwrap().iter().skip(opened.len()) {
                assert_eq!(*height, block_height);
            }
            opened = drive.asked.lock().unwrap().clone();
        }
        // Paths outside the drive were not even asked for.
        assert!(
            opened.iter().all(|(path, _)| ["/data/", "/tx/", "/block/"].iter().any(|start| path.starts_with(start)))
        );
    });
}
